package signing

// Guard is for the test that a panic in foreign code stays one candidate's.
var Guard = guard

// IsOwnFault likewise.
var IsOwnFault = isOwnFault
