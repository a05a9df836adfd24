package artifact_test

// childTarget names the target in the environment of a process that unpacks
// until it is killed.
const childTarget = "MODELREG_TEST_UNPACK"

func unpackChild(string) {}
