package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// read reads the objects of a file.
func read(file string) ([]map[string]any, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []map[string]any
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var o map[string]any
		if err := yaml.UnmarshalStrict(doc, &o); err != nil {
			return nil, err
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// check holds all objects of a file against their schemas.
func check(crds, file string) error {
	objects, err := read(file)
	if err != nil {
		return err
	}
	known, err := definitions(crds)
	if err != nil {
		return err
	}
	for _, o := range objects {
		u := unstructured.Unstructured{Object: o}
		name := u.GetKind() + " " + u.GetName()
		if err := checkObject(known, u); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n, err := compileAll(o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%s: ok, %d expressions\n", name, n)
	}
	return nil
}

func checkObject(known map[string]*apiextensions.JSONSchemaProps, u unstructured.Unstructured) error {
	raw, err := yaml.Marshal(u.Object)
	if err != nil {
		return err
	}
	switch u.GetAPIVersion() + " " + u.GetKind() {
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":
		return yaml.UnmarshalStrict(raw, &admissionv1.ValidatingAdmissionPolicy{})
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding":
		return yaml.UnmarshalStrict(raw, &admissionv1.ValidatingAdmissionPolicyBinding{})
	}
	props := known[u.GetAPIVersion()+" "+u.GetKind()]
	if props == nil {
		return fmt.Errorf("no definition of %s %s", u.GetAPIVersion(), u.GetKind())
	}
	structural, err := schema.NewStructural(props)
	if err != nil {
		return err
	}
	// A cluster drops what a schema does not know, without a word.
	if dropped := pruning.PruneWithOptions(u.DeepCopy().Object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}); len(dropped) > 0 {
		return fmt.Errorf("unknown fields: %v", dropped)
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return err
	}
	return validation.ValidateCustomResource(nil, u.Object, validator).ToAggregate()
}

// definitions are the schemas of custom resources by "GROUP/VERSION KIND".
func definitions(dir string) (map[string]*apiextensions.JSONSchemaProps, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no definitions in %s", dir)
	}
	all := map[string]*apiextensions.JSONSchemaProps{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, v := range crd.Spec.Versions {
			props := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = props
		}
	}
	return all, nil
}
