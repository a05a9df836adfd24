package main

import (
	"slices"

	"github.com/modelreg/modelreg/pkg/record"
)

const evaluatorsLong = `

--add-repository names a repository in which others keep what they have measured of the
versions: whoever looks for results here looks there too. A record does not send its
readers to other hosts; they name those themselves ("modelreg config set evaluations").`

// keptAt are the names of repositories as the record of arg has them: on its host.
func (a *app) keptAt(arg string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	of, err := a.parse(arg)
	if err != nil {
		return nil, err
	}
	list, err := a.repositoriesOf(names)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range list {
		if r.Host != of.Host {
			return nil, usagef("%s: on another host than %s, where no record sends its readers; they can name it themselves: \"modelreg config set evaluations\"", r.Name(), of.Name())
		}
		out = append(out, r.Name())
	}
	return out, nil
}

// changeEvaluators adds and removes evaluators, and repositories in which they keep
// what they have measured.
func (f *partyFlags) changeEvaluators(r *record.Record, add []record.Party, at []string) error {
	for _, name := range at {
		if !slices.Contains(r.Evaluations, name) {
			r.Evaluations = append(r.Evaluations, name)
		}
	}
	parties := *f
	parties.remove = slices.DeleteFunc(slices.Clone(f.remove), func(who string) bool {
		i := slices.Index(r.Evaluations, who)
		if i >= 0 {
			r.Evaluations = slices.Delete(r.Evaluations, i, i+1)
		}
		return i >= 0
	})
	return parties.change(&r.Evaluators, add)
}
