package scan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxTemplateFindings bounds what is told of one template: the first ones are
// enough to refuse it.
const maxTemplateFindings = 20

// A templateIssue is what is wrong with a template, at an offset in it.
type templateIssue struct {
	rule    string
	at      int
	message string
}

// inspectTemplate looks at a Jinja template without rendering it. No chat
// template has a reason to touch what Python keeps below the objects that it is
// given, and sandboxes, where there is one, have been escaped by each of the ways
// that are looked for here. What cannot be read is an issue, too.
func inspectTemplate(text string) []templateIssue {
	if len(text) > maxTemplate {
		return []templateIssue{{ruleTemplateUnread, 0, fmt.Sprintf("the template has %d bytes, more than the %d that are looked at", len(text), maxTemplate)}}
	}
	t := &templateInspector{}
	if err := lexTemplate(text, t.tag); err != nil {
		t.report(ruleTemplateUnread, err.at, "%s", err.reason)
	}
	return t.issues
}

// A templateInspector goes through the tags of one template.
type templateInspector struct {
	issues []templateIssue
	loops  []int64 // rounds of the loops that are open, 0 if not known
}

func (t *templateInspector) report(rule string, at int, format string, args ...any) {
	if len(t.issues) < maxTemplateFindings {
		t.issues = append(t.issues, templateIssue{rule, at, fmt.Sprintf(format, args...)})
	}
}

func (t *templateInspector) tag(tag templateTag) {
	e := &expression{templateInspector: t, tokens: tag.tokens}
	if tag.statement && len(e.tokens) > 0 {
		t.statement(e)
		e.tokens = e.tokens[1:]
	}
	e.fold()
	e.inspect()
}

// statement looks at the keyword of a statement.
func (t *templateInspector) statement(e *expression) {
	first := e.tokens[0]
	switch first.text {
	case "include", "import", "from", "extends":
		t.report(ruleTemplateReach, first.at, "%q reads another file", first.text)
	case "debug":
		t.report(ruleTemplateDoubt, first.at, "\"debug\" prints all that the template is given")
	case "for":
		t.loops = append(t.loops, e.rounds())
		t.cost(first.at)
	case "endfor":
		t.loops = t.loops[:max(len(t.loops)-1, 0)]
	}
}

// maxRounds is how often what is in a loop is run without being remarkable. It
// is what Jinja's sandbox lets range have.
const maxRounds = 100_000

// cost reports loops whose number of rounds the template itself makes large.
func (t *templateInspector) cost(at int) {
	product := int64(1)
	for _, n := range t.loops {
		if n > 0 {
			product *= min(n, maxRounds+1)
		}
		if product > maxRounds {
			t.report(ruleTemplateCost, at, "loops over literal ranges run more than %d times", maxRounds)
			return
		}
	}
}

// An expression is the tokens of one tag.
type expression struct {
	*templateInspector
	tokens []token
	joins  bool // the tag puts texts together
}

// rounds is how often "for … in range(N)" runs, 0 if that is not a literal.
func (e *expression) rounds() int64 {
	for i, tok := range e.tokens {
		if tok.kind == nameToken && tok.text == "range" {
			return e.rangeOf(i)
		}
	}
	return 0
}

// rangeOf is how many numbers the range at i has, or more.
func (e *expression) rangeOf(i int) int64 {
	const maxArguments = 12 // in tokens: three numbers with signs and commas
	most := int64(0)
	for _, arg := range e.tokens[i+1 : min(i+maxArguments, len(e.tokens))] {
		if arg.is(")") {
			break
		}
		if arg.kind == numberToken {
			most = max(most, integer(arg.text))
		}
	}
	return most
}

// integer reads a whole number of Python. What is too large is the largest.
func integer(s string) int64 {
	n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
	if err != nil && n == 0 {
		// Python, unlike Go, has 0… for zero only.
		n, _ = strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	}
	return n
}

// fold joins literals that Jinja joins: adjacent ones, and those with "~" or "+"
// between. What the parts hide the whole shows.
func (e *expression) fold() {
	out := make([]token, 0, len(e.tokens))
	for i := 0; i < len(e.tokens); i++ {
		tok := e.tokens[i]
		if tok.is("~") || tok.is("*") || tok.is("%") ||
			tok.kind == nameToken && slices.Contains(joiners, tok.text) {
			e.joins = true
		}
		if tok.kind == stringToken {
			var b strings.Builder
			b.WriteString(tok.text)
			for i+1 < len(e.tokens) {
				next := i + 1
				if e.tokens[next].is("~") || e.tokens[next].is("+") {
					next++
				}
				if next >= len(e.tokens) || e.tokens[next].kind != stringToken {
					break
				}
				b.WriteString(e.tokens[next].text)
				i = next
			}
			tok.text = b.String()
			if i+1 < len(e.tokens) && e.tokens[i+1].is("+") || len(out) > 0 && out[len(out)-1].is("+") {
				e.joins = true
			}
		}
		out = append(out, tok)
	}
	e.tokens = out
}

// joiners are filters and methods that make texts of others.
var joiners = []string{"join", "format", "reverse", "format_map"}

// shapers are filters that make the name of an attribute of something else,
// where they are in a subscript.
var shapers = append([]string{"replace", "list", "string", "lower", "upper", "trim", "first", "last"}, joiners...)

// dunders are the attributes that ways out of a sandbox go through.
var dunders = []string{
	"__class__", "__mro__", "__base__", "__bases__", "__subclasses__", "__globals__", "__builtins__", "__import__", "__init__",
	"__getattribute__", "__getattr__", "__getitem__", "__dict__", "__code__", "__func__", "__self__", "__module__", "__reduce__",
	"__reduce_ex__", "__call__", "__new__", "__closure__", "__wrapped__", "__loader__", "__spec__", "__kwdefaults__", "__defaults__",
	"__annotations__", "__init_subclass__", "__class_getitem__", "__set_name__", "__setattr__", "__delattr__", "__traceback__", "__context__",
}

// internals are attributes that lead from an object to the interpreter although
// they do not begin with an underscore.
var internals = []string{
	"mro", "func_globals", "func_code", "func_closure", "func_defaults", "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code",
	"cr_await", "cr_origin", "ag_frame", "ag_code", "ag_await", "f_globals", "f_locals", "f_builtins", "f_code", "f_back", "tb_frame", "tb_next",
	"co_code", "co_consts", "im_class", "im_func", "im_self",
}

// gadgets are global functions of Jinja and Flask that the known ways out begin
// with, and that no chat template needs.
var gadgets = []string{"lipsum", "cycler", "joiner", "get_flashed_messages", "url_for"}

// inspect looks at each token and its neighbours.
func (e *expression) inspect() {
	for i, tok := range e.tokens {
		prev, next := e.at(i-1), e.at(i+1)
		switch {
		case tok.kind == stringToken:
			e.literal(i, prev.is("="))
		case tok.kind == numberToken:
			e.number(i)
		case tok.kind == nameToken && prev.is("."):
			e.attribute(i)
		case tok.kind == nameToken && prev.is("|"):
			e.filter(i)
		case tok.kind == nameToken && strings.HasPrefix(tok.text, "__"):
			e.report(ruleTemplateReach, tok.at, "the name %.40q", tok.text)
		case tok.kind == nameToken && slices.Contains(gadgets, tok.text) && (next.is("(") || next.is(".") || next.is("[")):
			e.report(ruleTemplateDoubt, tok.at, "%q, with which ways out of a sandbox begin", tok.text)
		case tok.is("[") && (prev.kind != operatorToken || prev.is(")") || prev.is("]") || prev.is("}")) && prev.text != "" && !isKeyword(prev):
			e.subscript(i)
		case tok.kind == nameToken && tok.text == "attribute" && next.is("="):
			e.attributeArgument(e.at(i + 2))
		case tok.kind == nameToken && tok.text == "range" && next.is("("):
			if e.rangeOf(i) > maxRounds {
				e.report(ruleTemplateCost, tok.at, "a range of more than %d numbers", maxRounds)
			}
		}
	}
}

// at returns a token, or an empty one beyond the ends.
func (e *expression) at(i int) token {
	if i < 0 || i >= len(e.tokens) {
		return token{kind: operatorToken}
	}
	return e.tokens[i]
}

// isKeyword tells words after which a bracket begins a list.
func isKeyword(t token) bool {
	return t.kind == nameToken && slices.Contains([]string{"in", "and", "or", "not", "if", "else", "is", "elif"}, t.text)
}

// literal looks at a text that could be the name of an attribute, or a part of
// one, or become one.
func (e *expression) literal(i int, assigned bool) {
	tok, next := e.tokens[i], e.at(i+1)
	if slices.Contains(reshapers, e.at(i+2).text) && (next.is("|") || next.is(".")) || next.is("[") && tok.text != "" {
		e.report(ruleTemplateDoubt, tok.at, "another text is made of %.40q, which could as well stand there", tok.text)
	}
	if !strings.Contains(tok.text, "_") {
		return
	}
	for _, d := range dunders {
		if strings.Contains(tok.text, d) || strings.Contains(tok.text, reversed(d)) {
			e.report(ruleTemplateReach, tok.at, "a text with %q in it", d)
			return
		}
	}
	only := strings.Trim(tok.text, "_") == ""
	if only && assigned || only && e.joins && len(tok.text) > 1 || isPart(tok.text) {
		e.report(ruleTemplateDoubt, tok.at, "%.40q looks like a part of the name of an attribute", tok.text)
	}
}

// reshapers are filters and methods that make a text of one text: of one that is
// written out there is no need to.
var reshapers = []string{"replace", "reverse", "lower", "upper", "swapcase", "translate", "encode", "removeprefix", "removesuffix"}

// isPart tells whether s is the beginning or the end of a name in double
// underscores.
func isPart(s string) bool {
	word := strings.Trim(s, "_")
	return word != "" && len(s)-len(word) >= 2 && (strings.HasPrefix(s, "__") || strings.HasSuffix(s, "__")) &&
		!strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// isInternal tells names that no template needs.
func isInternal(name string) bool {
	return strings.HasPrefix(name, "__") || slices.Contains(internals, name)
}

// attribute looks at the name after a dot.
func (e *expression) attribute(i int) {
	tok := e.tokens[i]
	switch {
	case strings.HasPrefix(tok.text, "_") || slices.Contains(internals, tok.text):
		e.report(ruleTemplateReach, tok.at, "the attribute %.40q", tok.text)
	case tok.text == "format_map":
		e.report(ruleTemplateDoubt, tok.at, "format_map can read attributes of what it is given")
	case tok.text == "format":
		e.formatMethod(i)
	}
}

// formatMethod looks at the format of str.format, in which {0.x} reads an
// attribute.
func (e *expression) formatMethod(i int) {
	text := e.at(i - 2)
	if text.kind != stringToken {
		e.report(ruleTemplateDoubt, e.tokens[i].at, "format with a text that is not known here can read attributes of what it is given")
		return
	}
	for _, field := range strings.Split(text.text, "{")[1:] {
		field, _, _ = strings.Cut(field, "}")
		if name, _, _ := strings.Cut(field, ":"); strings.Contains(name, "._") || strings.Contains(name, "[_") {
			e.report(ruleTemplateReach, text.at, "a format that reads the attribute %.40q", name)
		} else if strings.Contains(name, ".") {
			e.report(ruleTemplateDoubt, text.at, "a format that reads the attribute %.40q", name)
		}
	}
}

// filter looks at the name after a bar.
func (e *expression) filter(i int) {
	tok := e.tokens[i]
	arg := e.at(i + 2)
	if !e.at(i + 1).is("(") {
		arg = token{kind: operatorToken}
	}
	switch tok.text {
	case "attr":
		if arg.kind == stringToken && !strings.HasPrefix(arg.text, "_") && !isInternal(arg.text) && e.at(i+3).is(")") {
			e.report(ruleTemplateDoubt, tok.at, "the filter attr reads the attribute %.40q", arg.text)
			return
		}
		e.report(ruleTemplateReach, tok.at, "the filter attr reads an attribute whose name is not a plain text")
	case "map", "select", "reject":
		if arg.kind == stringToken && arg.text == "attr" {
			e.report(ruleTemplateReach, tok.at, "the filter attr, by its name")
		}
		if arg.kind == nameToken && arg.text != "attribute" && tok.text == "map" {
			e.report(ruleTemplateDoubt, tok.at, "a filter whose name is not known here")
		}
	case "selectattr", "rejectattr", "groupby":
		e.attributeArgument(arg)
	}
}

// attributeArgument looks at the argument of a filter that names attributes,
// with dots between them.
func (e *expression) attributeArgument(arg token) {
	switch arg.kind {
	case stringToken:
		for part := range strings.FieldsFuncSeq(arg.text, func(r rune) bool { return r == '.' || r == ',' }) {
			if isInternal(part) {
				e.report(ruleTemplateReach, arg.at, "a filter that reads the attribute %.40q", part)
				return
			}
		}
	case nameToken:
		e.report(ruleTemplateDoubt, arg.at, "a filter that reads an attribute whose name is not known here")
	}
}

// subscript looks at what is between the brackets at i and their end.
func (e *expression) subscript(i int) {
	inside := e.inside(i)
	if len(inside) == 1 && inside[0].kind == stringToken {
		if isInternal(inside[0].text) && !slices.ContainsFunc(dunders, func(d string) bool { return strings.Contains(inside[0].text, d) }) {
			e.report(ruleTemplateReach, inside[0].at, "the attribute %.40q", inside[0].text)
		}
		return
	}
	text, made := false, false
	for k, tok := range inside {
		text = text || tok.kind == stringToken
		made = made || tok.is("~") || tok.is("*") && text || tok.is("%") && text ||
			tok.is("+") && (text || e.at(i+2+k).kind == stringToken) ||
			tok.is("|") && slices.Contains(shapers, e.at(i+2+k).text)
	}
	if made {
		e.report(ruleTemplateDoubt, e.tokens[i].at, "the name of an item or attribute is put together of texts")
	}
}

// maxSubscript bounds the tokens that are looked at as one subscript.
const maxSubscript = 200

// inside returns the tokens between the bracket at i and where it is closed.
func (e *expression) inside(i int) []token {
	depth := 0
	end := min(i+maxSubscript, len(e.tokens))
	for k := i; k < end; k++ {
		switch {
		case e.tokens[k].is("[") || e.tokens[k].is("(") || e.tokens[k].is("{"):
			depth++
		case e.tokens[k].is("]") || e.tokens[k].is(")") || e.tokens[k].is("}"):
			if depth--; depth == 0 {
				return e.tokens[i+1 : k]
			}
		}
	}
	return e.tokens[min(i+1, end):end]
}

// maxFactor is the largest number that a text is repeated, or a number raised,
// by without being remarkable.
const maxFactor = 1_000_000

// number looks at large numbers where they cost memory.
func (e *expression) number(i int) {
	if integer(e.tokens[i].text) <= maxFactor {
		return
	}
	prev, next := e.at(i-1), e.at(i+1)
	filter := prev.is("(") && e.at(i-3).is("|")
	if prev.is("*") || prev.is("**") || next.is("*") || next.is("**") || filter {
		e.report(ruleTemplateCost, e.tokens[i].at, "the number %.40s makes something of that size", e.tokens[i].text)
	}
}
