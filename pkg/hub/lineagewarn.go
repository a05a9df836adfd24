package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/lineage"
)

// warnings finds what is passed on along the edges.
func (g *genealogy) warnings(_ context.Context, root *relative) {
	for _, e := range g.edges {
		g.edgeWarnings(e)
	}
	for _, r := range g.order {
		g.nodeWarnings(r, r == root)
	}
	for _, a := range g.ancestors(root) {
		if direct := slices.ContainsFunc(g.edges, func(e LineageEdge) bool { return e.Input == a.node.ID && e.Output == root.node.ID }); direct || !a.node.Read {
			continue
		}
		if why := lineage.LicenceConflict(root.node.Licenses, a.node.Licenses); why != "" {
			g.hubWarn(root, "licence", fmt.Sprintf("%s, further up: %s", shortName(a.node), why))
		}
	}
	slices.SortStableFunc(g.warned, func(a, b LineageWarning) int {
		return warningRank(a.Kind) - warningRank(b.Kind)
	})
}

// warningRank puts what matters most first.
func warningRank(kind string) int {
	return slices.Index([]string{"contradicted", "yanked", "unsafe", "licence", "provenance", "deprecated", "unsigned", "unpinned", "unread"}, kind)
}

func (g *genealogy) edgeWarnings(e LineageEdge) {
	input, output := g.known[e.Input], g.known[e.Output]
	if e.Claim.Verdict == lineage.Contradicted {
		g.hubWarn(output, "contradicted", fmt.Sprintf("it is no %s of %s: %s", e.Relation, shortName(input.node), e.Claim.Reason))
	}
	if !e.Pinned && e.Relation.OfModels() {
		g.hubWarn(output, "unpinned", fmt.Sprintf("made of %s, which is known by name alone", shortName(input.node)))
	}
	if e.Relation.OfModels() && e.Relation != lineage.Origin && input.node.Read && output.node.Read {
		if why := lineage.LicenceConflict(output.node.Licenses, input.node.Licenses); why != "" {
			g.hubWarn(output, "licence", fmt.Sprintf("%s: %s", shortName(output.node), why))
		}
	}
}

func (g *genealogy) nodeWarnings(r *relative, root bool) {
	n := r.node
	switch {
	case n.State != "":
		why := ""
		if n.Reason != "" {
			why = ": " + n.Reason
		}
		g.hubWarn(r, n.State, fmt.Sprintf("%s is %s%s", shortName(n), n.State, why))
	case n.Problem != "":
		g.hubWarn(r, "unread", fmt.Sprintf("%s could not be read: %s", shortName(n), n.Problem))
	}
	if n.Scan != "" && n.Scan != "safe" {
		g.hubWarn(r, "unsafe", fmt.Sprintf("%s: a scan found it %s", shortName(n), n.Scan))
	}
	if n.Read && n.Kind == "model" && !root {
		switch {
		case n.Signatures == 0:
			g.hubWarn(r, "unsigned", shortName(n)+" has no signature")
		case g.opts.Trust != nil && len(n.Signers) == 0:
			g.hubWarn(r, "unsigned", shortName(n)+" is signed by nobody who is trusted")
		}
	}
}

// ancestors are the models that a version was made of, and those that these were.
func (g *genealogy) ancestors(root *relative) []*relative {
	var out []*relative
	seen := map[string]bool{root.node.ID: true}
	for at := []string{root.node.ID}; len(at) > 0; {
		var next []string
		for _, e := range g.edges {
			if slices.Contains(at, e.Output) && e.Relation.OfModels() && !seen[e.Input] {
				seen[e.Input] = true
				next = append(next, e.Input)
				out = append(out, g.known[e.Input])
			}
		}
		at = next
	}
	return out
}

// shortName is what a node is called in a message.
func shortName(n LineageNode) string {
	if i := strings.Index(n.Reference, "/"); i > 0 && n.Digest != "" {
		return n.Reference[i+1:]
	}
	return n.Reference
}
