package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/cel/environment"
)

var stringList = reflect.TypeFor[[]string]()

// costLimit is what a cluster lets one expression of a policy cost.
const costLimit = 10_000_000

// env is the environment of Kubernetes with the variables of the engines, and
// Kyverno's functions without what is behind them.
func env() (*cel.Env, error) {
	base, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Env(environment.StoredExpressions)
	if err != nil {
		return nil, err
	}
	list := cel.ListType(cel.StringType)
	return base.Extend(
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("variables", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("ref", cel.StringType),
		cel.Variable("images", cel.MapType(cel.StringType, list)),
		cel.Variable("attestors", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("attestations", cel.MapType(cel.StringType, cel.StringType)),
		cel.Function("verifyImageSignatures", cel.Overload("verify_image",
			[]*cel.Type{cel.StringType, cel.ListType(cel.DynType)}, cel.IntType,
			cel.BinaryBinding(func(image, _ ref.Val) ref.Val { return signed(image) }))),
		cel.Function("verifyAttestationSignatures", cel.Overload("verify_attestation",
			[]*cel.Type{cel.StringType, cel.StringType, cel.ListType(cel.DynType)}, cel.IntType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val { return signed(args[0]) }))),
	)
}

func signed(image ref.Val) ref.Val {
	if s, ok := image.Value().(string); ok && strings.Contains(s, "signed") {
		return types.Int(1)
	}
	return types.Int(0)
}

func compile(e *cel.Env, expression string) (cel.Program, error) {
	ast, issues := e.Compile(expression)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compile %s: %w", expression, issues.Err())
	}
	return e.Program(ast, cel.CostLimit(costLimit))
}

// expressions are those at a place in an object: the values of these keys in all
// entries of a list.
func expressions(o map[string]any, list string, keys ...string) []string {
	entries, _, _ := unstructured.NestedSlice(o, "spec", list)
	var all []string
	for _, entry := range entries {
		for _, key := range keys {
			if s, ok := entry.(map[string]any)[key].(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// compileAll compiles every expression of an object, and counts them.
func compileAll(o map[string]any) (n int, err error) {
	e, err := env()
	if err != nil {
		return 0, err
	}
	for list, keys := range map[string][]string{
		"variables": {"expression"}, "images": {"expression"}, "matchImageReferences": {"expression"},
		"matchConditions": {"expression"}, "validations": {"expression", "messageExpression"},
	} {
		for _, x := range expressions(o, list, keys...) {
			if _, err := compile(e, x); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// decide asks all policies in a file about the object in another.
func decide(file, objectFile string) error {
	policies, err := read(file)
	if err != nil {
		return err
	}
	objects, err := read(objectFile)
	if err != nil || len(objects) != 1 {
		return fmt.Errorf("%s: %d objects, %v", objectFile, len(objects), err)
	}
	e, err := env()
	if err != nil {
		return err
	}
	for _, p := range policies {
		x := evaluation{env: e, policy: p, vars: map[string]any{"object": objects[0], "oldObject": nil}}
		message, err := x.run()
		if err != nil {
			return err
		}
		if message != "" {
			fmt.Println("denied:", message)
			return nil
		}
	}
	fmt.Println("admitted")
	return nil
}

// An evaluation is one policy on one object.
type evaluation struct {
	env    *cel.Env
	policy map[string]any
	vars   map[string]any
}

func (x *evaluation) eval(expression string) (ref.Val, error) {
	p, err := compile(x.env, expression)
	if err != nil {
		return nil, err
	}
	out, _, err := p.Eval(x.vars)
	if err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", expression, err)
	}
	return out, nil
}

// run returns why the object is denied; empty if it is not.
func (x *evaluation) run() (string, error) {
	variables := map[string]any{}
	x.vars["variables"] = variables
	entries, _, _ := unstructured.NestedSlice(x.policy, "spec", "variables")
	for _, entry := range entries {
		v, _ := entry.(map[string]any)
		out, err := x.eval(v["expression"].(string))
		if err != nil {
			return "", err
		}
		variables[v["name"].(string)] = out
	}
	if err := x.images(); err != nil {
		return "", err
	}
	entries, _, _ = unstructured.NestedSlice(x.policy, "spec", "validations")
	for _, entry := range entries {
		v, _ := entry.(map[string]any)
		out, err := x.eval(v["expression"].(string))
		if err != nil {
			return "", err
		}
		if out == types.True {
			continue
		}
		if m, ok := v["messageExpression"].(string); ok {
			said, err := x.eval(m)
			return fmt.Sprint(said.Value()), err
		}
		return fmt.Sprint(v["message"]), nil
	}
	return "", nil
}

// images extracts the images that a policy of Kyverno is about.
func (x *evaluation) images() error {
	images := map[string][]string{}
	x.vars["images"], x.vars["attestors"], x.vars["attestations"] = images, map[string]any{}, map[string]string{}
	for kind, list := range map[string]string{"attestors": "attestors", "attestations": "attestations"} {
		entries, _, _ := unstructured.NestedSlice(x.policy, "spec", list)
		for _, entry := range entries {
			name, _ := entry.(map[string]any)["name"].(string)
			switch m := x.vars[kind].(type) {
			case map[string]any:
				m[name] = name
			case map[string]string:
				m[name] = name
			}
		}
	}
	entries, _, _ := unstructured.NestedSlice(x.policy, "spec", "images")
	for _, entry := range entries {
		v, _ := entry.(map[string]any)
		name := v["name"].(string)
		images[name] = []string{}
		out, err := x.eval(v["expression"].(string))
		if err != nil {
			return err
		}
		all, err := out.ConvertToNative(stringList)
		if err != nil {
			return err
		}
		for _, image := range all.([]string) {
			matched, err := x.matches(image)
			if err != nil {
				return err
			}
			if matched {
				fmt.Printf("%s looks at %s\n", (&unstructured.Unstructured{Object: x.policy}).GetName(), image)
				images[name] = append(images[name], image)
			}
		}
	}
	return nil
}

func (x *evaluation) matches(image string) (bool, error) {
	x.vars["ref"] = image
	for _, m := range expressions(x.policy, "matchImageReferences", "expression") {
		out, err := x.eval(m)
		if err != nil || out == types.True {
			return err == nil, err
		}
	}
	return false, nil
}
