package testreg_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/modelreg/modelreg/internal/testreg"
)

// A client that tries again gets through; the log tells how often it tried.
func TestExample(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	s.Add(
		testreg.Fault("503x3"), // the first three requests of a repository
		testreg.Rule{ // one of our own: the fourth is asked to be patient
			Name: "patience", Path: "/manifests/", From: 1, To: 1,
			Do: testreg.RetryAfter(http.StatusTooManyRequests, "0"),
		},
	)
	var last int
	for last != http.StatusNotFound {
		last = do(t, s, "GET", repo+"/manifests/absent", nil).status
	}
	var got []string
	for _, r := range s.Requests() {
		got = append(got, fmt.Sprint(r.Status, " ", r.Rule))
	}
	if want := "[503 503x3 503 503x3 503 503x3 429 patience 404 ]"; fmt.Sprint(got) != want {
		t.Errorf("log = %v, want %v", got, want)
	}
	if leaked := s.Sink.Credentials(); leaked != nil {
		t.Errorf("credentials went astray: %q", leaked)
	}
}
