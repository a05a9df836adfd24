// Package index is search over the versions of models: what was read from a
// registry, in a form that answers questions in milliseconds.
//
// A [Record] is what is known of one version: flat facts, of which none needs
// another request. [ParseQuery] reads the query language that the command line,
// the API and the pages share, and prints it in one canonical form.
//
// An index is a read model. It can be lost and built again from the registry
// alone, and the same records then give the same answers, whatever the order in
// which they came: nothing that an index made up for itself decides an order.
//
// Text in records comes from strangers. It is cut to the limits of [Record] and
// kept as it is, control characters included: who prints it escapes it.
//
// Package index speaks no HTTP, knows no registry and imports no other package
// of this module.
package index
