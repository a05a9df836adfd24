package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/provenance"
)

// lineageFlags say what push and import make a version of.
type lineageFlags struct {
	bases, datasets, code []string
	relation              string
	announce              bool
}

func (f *lineageFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.bases, "base", nil, "say in the version which model it was made from: `REF`, resolved to its digest, or hf:ORG/MODEL@COMMIT; a part in a merge as REF,weight=0.5 (repeatable)")
	choose(cmd, choiceFlag{value: &f.relation, name: "relation", usage: "what --base is for: `auto|finetune|adapter|merge|quantized|distilled|converted`; auto goes by what the files look like"},
		"auto", "finetune", "adapter", "merge", "quantized", "distilled", "converted")
	fl.StringArrayVar(&f.datasets, "dataset", nil, "say what it was trained on: `REF`, or hf:datasets/ORG/NAME@COMMIT (repeatable)")
	fl.BoolVar(&f.announce, "announce", false, "tell what the version was made of that it was, as \"modelreg lineage announce\" does; what cannot be told is a warning")
	fl.StringArrayVar(&f.code, "code", nil, "say what code made it: `REF`, or an address as https://HOST/ORG/REPO@COMMIT (repeatable)")
}

// inputs reads the flags.
func (a *app) inputs(f lineageFlags) ([]hub.Input, error) {
	if f.relation == "auto" {
		f.relation = ""
	}
	if f.relation != "" && len(f.bases) == 0 {
		return nil, usagef("--relation %s: it is used with --base", f.relation)
	}
	var list []hub.Input
	for _, group := range []struct {
		flag     string
		relation lineage.Relation
		given    []string
	}{{"base", lineage.Relation(f.relation), f.bases}, {"dataset", lineage.Dataset, f.datasets}, {"code", lineage.Code, f.code}} {
		for _, arg := range group.given {
			in := hub.Input{Relation: group.relation}
			name, weight, weighed := strings.Cut(arg, ",weight=")
			if weighed {
				var err error
				if in.Weight, err = strconv.ParseFloat(weight, 64); err != nil || in.Weight != in.Weight || in.Weight > 1e6 || in.Weight < -1e6 {
					return nil, usagef("--%s %s: the weight is no number", group.flag, arg)
				}
			}
			if err := a.input(&in, "--"+group.flag+" "+arg, name); err != nil {
				return nil, err
			}
			list = append(list, in)
		}
	}
	return list, nil
}

// input reads where something is that a version is made of.
func (a *app) input(in *hub.Input, flag, name string) (err error) {
	for _, scheme := range []string{"hf://", "hf:"} {
		if id, ok := strings.CutPrefix(name, scheme); ok {
			_, commit, pinned := strings.Cut(id, "@")
			if id == "" || pinned && !provenance.IsCommit(commit) {
				return usagef("%s: give the whole commit, 40 hexadecimal digits: anything shorter may come to mean something else", flag)
			}
			in.Elsewhere = "hf:" + id
			return nil
		}
	}
	if strings.Contains(name, "://") && !strings.HasPrefix(name, "oci://") {
		in.Elsewhere = name
		return nil
	}
	in.Reference, err = a.parse(name)
	return err
}
