package source

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/modelreg/modelreg/pkg/remote"
)

// An Error tells which request to a hub did not do what it should, and why. It
// is not a *remote.Error, so that whoever uploads what is read here does not
// take a hub's answer for the registry's.
type Error struct {
	Op     string // what was asked for, without query
	Status int    // HTTP status; 0 when no answer came
	Code   string // the hub's own error code, such as GatedRepo
	Text   string // what went wrong: printable, at most 512 bytes, no secrets
	Class  error  // one of package remote's, or another sentinel

	causes []error
}

func (e *Error) Error() string {
	s := e.Op
	if e.Status != 0 {
		s += fmt.Sprintf(": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Unwrap returns the class and the causes.
func (e *Error) Unwrap() []error {
	if e.Class == nil {
		return e.causes
	}
	return append([]error{e.Class}, e.causes...)
}

// requestError makes an error of a request that was not answered, or whose
// answer broke off. again tells whether it may go better next time.
func requestError(op string, err error) (_ error, again bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e, false
	}
	e, ok := errors.AsType[*remote.Error](remote.RequestError(op, err))
	if !ok {
		return err, false
	}
	_, again = e.Retry()
	return &Error{Op: e.Op, Status: e.Status, Text: e.Text, causes: e.Unwrap()}, again
}

// broken says that a hub's answer makes no sense.
func broken(op, format string, args ...any) *Error {
	return &Error{Op: op, Text: remote.CleanText(fmt.Sprintf(format, args...)), Class: remote.ErrProtocol}
}

// An AccessError says that a hub does not let us have a model.
type AccessError struct {
	ID    string // the model
	Page  string // where people see it and can ask for access
	Gated bool   // its owner decides who may have it
	Token bool   // a token was sent
	Err   error
}

func (e *AccessError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *AccessError) Unwrap() error { return e.Err }
