package scan

// contentRules are those of what files say: structure, configurations, texts.
var contentRules = []Rule{}

// contentChecks are the checks that go with them.
func contentChecks() []check { return nil }
