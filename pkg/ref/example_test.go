package ref_test

import (
	"errors"
	"fmt"

	"github.com/modelreg/modelreg/pkg/ref"
)

func ExampleParse() {
	r, err := ref.Parse("ghcr.io/org/bert:v1.2.0//config.json")
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Host)
	fmt.Println(r.Repository)
	fmt.Println(r.Tag)
	fmt.Println(r.Path)
	// Output:
	// ghcr.io
	// org/bert
	// v1.2.0
	// config.json
}

func ExampleParse_short() {
	_, err := ref.Parse("org/bert")
	fmt.Println(errors.Is(err, ref.ErrSyntax))
	fmt.Println(err)
	// Output:
	// true
	// invalid reference "org/bert": no registry host, and no default registry is set; write it as HOST/org/bert
}

func ExampleNames_Parse() {
	names := ref.Names{
		Default: "ghcr.io/acme",
		Aliases: map[string]string{"corp": "harbor.corp.io/ml"},
	}
	for _, s := range []string{"bert", "@corp/bert:v1", `bert:"^1.2"`} {
		r, err := names.Parse(s)
		if err != nil {
			panic(err)
		}
		fmt.Println(r)
	}
	// Output:
	// ghcr.io/acme/bert
	// harbor.corp.io/ml/bert:v1
	// ghcr.io/acme/bert:"^1.2"
}

func ExampleEncodeBranch() {
	tag, err := ref.EncodeBranch("feature/x")
	if err != nil {
		panic(err)
	}
	fmt.Println(tag)
	fmt.Println(ref.DecodeBranch(tag))
	// Output:
	// _b.feature__x
	// feature/x
}
