package artifact

// ParamSize is for tests of what cannot be reached with small files.
var ParamSize = paramSize

// ParseIndex and ParseRecord are for fuzzing.
var (
	ParseIndex  = parseIndex
	ParseRecord = parseRecord
)
