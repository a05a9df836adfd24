package signing

// An Identity says whose certificates count: who vouched, and for whom. Each of
// the two is exact, or a regular expression that is anchored at both ends.
type Identity struct {
	Issuer, Subject             string
	IssuerRegexp, SubjectRegexp string
}
