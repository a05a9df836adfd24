package artifact

import "fmt"

// A Secret is a file that should not be published.
type Secret struct {
	Path string
	What string // such as "private key"
}

// A SecretsError lists files that look like secrets by their content. Nothing
// has been sent anywhere.
type SecretsError struct {
	Files []Secret
}

func (e *SecretsError) Error() string {
	names := make([]string, len(e.Files))
	for i, f := range e.Files {
		names[i] = fmt.Sprintf("%s (%s)", f.Path, f.What)
	}
	return listed("unsafe: secrets in", names)
}

// Unwrap returns [ErrUnsafe].
func (e *SecretsError) Unwrap() error { return ErrUnsafe }
