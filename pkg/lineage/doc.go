// Package lineage knows where versions come from.
//
// The history of a repository is in its versions: each names in annotations of
// its manifest the versions that it was made from, and may carry a message and
// an author. [ParseCommit] reads that, [Commit.Annotations] writes it, [Walk]
// follows it, [Sort] brings it into order and [Graph] draws it.
//
// Package lineage asks no registry: who calls it says how a version is read.
// What it reads is what strangers have written, so it is bounded, and text in it
// must be escaped before it is shown.
package lineage
