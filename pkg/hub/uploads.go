package hub

import (
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
)

// uploads lets the registry client remember uploads in a store. What cannot be
// remembered costs a later push some bytes, and is no failure.
type uploads struct{ store *store.Store }

func (u uploads) Upload(repository, key string) remote.Note {
	n, err := u.store.Upload(repository, key)
	if err != nil {
		return nil
	}
	return uploadNote{n}
}

func (u uploads) Habit(host string) string { return u.store.UploadHabit(host) }

func (u uploads) SetHabit(host, text string) { _ = u.store.SetUploadHabit(host, text) }

type uploadNote struct{ *store.UploadNote }

func (n uploadNote) Keep(location string) { _ = n.UploadNote.Keep(location) }

func (n uploadNote) Close() { _ = n.UploadNote.Close() }
