package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	swapVersion = 1
	maxSwapNote = 4 << 10
	swapPrefix  = ".modelreg-swap-"
)

// SwapDir gives the directory staged the name final, and makes that and all
// directories of it durable; its files the caller has synced. If there is a
// directory final it gets the name staged, for the caller to remove. Both are
// names, not paths, within parent.
//
// Whoever looks sees the old final or the new one. On Linux and macOS that
// holds at every moment, where the file system can exchange names. Elsewhere
// final is missing for a moment, and after a crash in it until [RecoverSwap],
// or the next SwapDir to final, has finished.
func SwapDir(parent *os.Root, staged, final string) error {
	if err := (swap{parent, staged, final, osDisk{}}).run(exchange); err != nil {
		return fmt.Errorf("swap %s into %s: %w", staged, final, err)
	}
	return nil
}

// RecoverSwap finishes or undoes a [SwapDir] to final that was interrupted, if
// there was one. Afterwards final is a whole directory, the old or the new. It
// must not run at the same time as a SwapDir to the same name, and comes before
// leftover staging directories are removed.
func RecoverSwap(parent *os.Root, final string) error {
	if err := checkBase(final); err != nil {
		return err
	}
	if err := (swap{parent: parent, final: final, disk: osDisk{}}).recover(); err != nil {
		return fmt.Errorf("recover swap of %s: %w", final, err)
	}
	return nil
}

type swap struct {
	parent        *os.Root
	staged, final string
	disk          disk
}

// A swapNote is written before names are moved one by one.
type swapNote struct {
	Version int    `json:"version"`
	Staged  string `json:"staged"`
	Final   string `json:"final"`
}

// run does the swap. exchange is the way without a gap; where it returns
// errors.ErrUnsupported the names are moved one by one.
func (w swap) run(exchange func(parent *os.Root, a, b string) error) error {
	if err := errors.Join(checkBase(w.staged), checkBase(w.final)); err != nil {
		return err
	}
	if w.staged == w.final {
		return errors.New("names are the same")
	}
	if err := w.recover(); err != nil {
		return err
	}
	if err := w.syncTree(); err != nil {
		return err
	}
	fi, err := w.parent.Lstat(w.final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = w.disk.Rename(w.parent, w.staged, w.final)
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory: %w", w.final, fs.ErrExist)
	default:
		err = exchange(w.parent, w.staged, w.final)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return w.move()
	}
	if err != nil {
		return err
	}
	return w.sync()
}

// move swaps the names one by one, after noting what it is about to do.
func (w swap) move() error {
	raw, err := json.Marshal(swapNote{swapVersion, w.staged, w.final})
	if err != nil {
		return err
	}
	temp := w.note() + ".new"
	if err := writeFile(w.disk, w.parent, small{temp, raw, 0o600, true}); err != nil {
		return err
	}
	if err := w.disk.Rename(w.parent, temp, w.note()); err != nil {
		return errors.Join(err, w.parent.Remove(temp))
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.disk.Rename(w.parent, w.final, w.aside()); err != nil {
		return errors.Join(err, w.parent.Remove(w.note()))
	}
	return w.finish()
}

// finish goes on from where the old directory has been moved aside.
func (w swap) finish() error {
	if err := w.disk.Rename(w.parent, w.staged, w.final); err != nil {
		return errors.Join(err, w.undo())
	}
	return w.tidy()
}

// undo gives the old directory its name back.
func (w swap) undo() error {
	if err := w.disk.Rename(w.parent, w.aside(), w.final); err != nil {
		return err
	}
	return w.forget()
}

// tidy gives the old directory the name of the new one.
func (w swap) tidy() error {
	if err := w.disk.Rename(w.parent, w.aside(), w.staged); err != nil {
		return err
	}
	return w.forget()
}

// forget removes the note, after what it was about has become durable.
func (w swap) forget() error {
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.parent.Remove(w.note()); err != nil {
		return err
	}
	return w.sync()
}

func (w swap) recover() error {
	raw, err := readFile(w.parent, w.note(), maxSwapNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.staged, err = parseSwapNote(raw, w.final); err != nil {
		return err
	}
	aside, staged, final := w.has(w.aside()), w.has(w.staged), w.has(w.final)
	switch {
	case !aside:
		return w.forget() // nothing was moved yet, or all is done
	case !final && staged:
		return w.finish()
	case !final:
		return w.undo()
	case !staged:
		return w.tidy()
	}
	return fmt.Errorf("%s, %s and %s are all there: %w", w.aside(), w.staged, w.final, fs.ErrExist)
}

// parseSwapNote returns the staged directory of a note about final.
func parseSwapNote(raw []byte, final string) (staged string, err error) {
	var note swapNote
	if err := json.Unmarshal(raw, &note, json.RejectUnknownMembers(true)); err != nil {
		return "", fmt.Errorf("parse swap note: %w", err)
	}
	if note.Version != swapVersion || note.Final != final || note.Staged == final {
		return "", errors.New("swap note is of another swap")
	}
	return note.Staged, checkBase(note.Staged)
}

func (w swap) has(name string) bool {
	_, err := w.parent.Lstat(name)
	return err == nil
}

// note is the name of the note; a hash, as final may have the longest name
// that the file system takes.
func (w swap) note() string {
	sum := sha256.Sum256([]byte(w.final))
	return swapPrefix + hex.EncodeToString(sum[:8])
}

func (w swap) aside() string { return w.note() + ".old" }

func (w swap) sync() error { return syncDir(w.disk, w.parent, ".") }

// syncTree makes the names in all directories of the staged one durable.
func (w swap) syncTree() error {
	var dirs []string
	err := fs.WalkDir(w.parent.FS(), w.staged, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return fmt.Errorf("%s is not a directory", w.staged)
	}
	for _, dir := range slices.Backward(dirs) {
		if err := syncDir(w.disk, w.parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// checkBase refuses names that are not of an entry of one directory.
func checkBase(name string) error {
	if name == "" || name == "." || name == ".." || path.Base(name) != name || strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("%q is not a base name: %w", name, fs.ErrInvalid)
	}
	return nil
}
