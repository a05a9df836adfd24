package signing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	tufconfig "github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// PublicTrust is the URL at which the public sigstore publishes whom to believe.
const PublicTrust = tuf.DefaultMirror

// ErrTrustRepository means that what a [TrustRepository] shows is not signed as
// it must be, is older than what it showed before, or is out of date.
var ErrTrustRepository = errors.New("what the trust repository publishes is not to be believed")

// A TrustRepository is where a sigstore deployment publishes, by The Update
// Framework (TUF), whom to believe of it: its trusted root, signed by keys that
// can be changed. [TrustRepository.Update] asks it; what it said last is kept on
// the disk, and [TrustRepository.Kept] needs no network.
type TrustRepository struct {
	// URL is where it is. Empty means [PublicTrust].
	URL string

	// Root is the root.json to begin with, from a source that is trusted. Nil
	// means the one that was kept, or for the public sigstore the one that is
	// built in. The newer of several counts.
	Root []byte

	// Dir is a directory for what is kept of any number of repositories, which
	// only this user may be able to write to. It is made when needed.
	Dir string

	// Transport makes the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
}

// Published is what a [TrustRepository] publishes.
type Published struct {
	Repository string // its URL
	File       string // where the trusted root is kept

	// TrustedRoot is for [ParseTrustedRoot].
	TrustedRoot []byte

	// SigningConfig is for [ParseSigningConfig]: the services to sign with. It
	// is nil if the repository names none.
	SigningConfig []byte

	// Checked is when the repository was asked, and Expires until when it vouches
	// for what it said then.
	Checked, Expires time.Time
}

// The names of what a repository publishes, and of what is kept of it.
const (
	targetTrustedRoot   = "trusted_root.json"
	targetSigningConfig = "signing_config.v0.2.json"
	keptState           = "state.json"
	keptRoot            = metadata.ROOT + ".json"
)

const (
	keptVersion  = 1
	maxKeptState = 4 << 10

	maxKeptMetadata = 8 << 20 // bytes of a file of the updater's

	trustPoll = 50 * time.Millisecond // between looks at a lock
)

// keptAs is what is noted of the last update.
type keptAs struct {
	Version    int       `json:"version"`
	Repository string    `json:"repository"`
	Checked    time.Time `json:"checked"`
	Expires    time.Time `json:"expires"`
}

func (r TrustRepository) url() string { return cmp.Or(r.URL, PublicTrust) }

// dir is the directory of the repository, and no other's.
func (r TrustRepository) dir() (string, error) {
	u, err := url.Parse(r.url())
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return "", fmt.Errorf("%q is no URL of a trust repository", place(r.url()))
	}
	name := url.QueryEscape(u.Host + strings.TrimSuffix(u.Path, "/"))
	if strings.Trim(name, ".") == "" || r.Dir == "" {
		return "", fmt.Errorf("no place to keep what %s publishes", place(r.url()))
	}
	return filepath.Join(r.Dir, name), nil
}

// Check tells what is wrong with where the repository is, or is to be kept.
func (r TrustRepository) Check() error {
	_, err := r.dir()
	return err
}

// Update asks the repository what it publishes now, checks it against what was
// believed before, and keeps it. What was kept stays when that fails: an error
// that wraps [ErrTrustRepository] says that somebody shows what the repository's
// keys did not sign, or keeps something back.
func (r TrustRepository) Update(ctx context.Context) (*Published, error) {
	dir, err := r.dir()
	if err != nil {
		return nil, fmt.Errorf("update trusted root: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("update trusted root: %w", err)
	}
	lock := flock.New(filepath.Join(dir, ".lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, trustPoll); err != nil {
		return nil, fmt.Errorf("lock trusted root of %s: %w", place(r.url()), err)
	}
	defer func() { _ = lock.Unlock() }()
	var p *Published
	err = guard(func() (err error) {
		p, err = r.update(ctx, dir)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("update trusted root from %s: %w", place(r.url()), trustFault(ctx, err))
	}
	return p, nil
}

// trustFault gives an error of an update its class.
func trustFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	for _, class := range []error{ErrService, ErrRefused} {
		if errors.Is(err, class) {
			return err
		}
	}
	if answer, ok := errors.AsType[*metadata.ErrDownloadHTTP](err); ok {
		return &ServiceError{URL: answer.URL, Status: answer.StatusCode, Message: "there is no trust repository here"}
	}
	return fmt.Errorf("%w: %w", ErrTrustRepository, err)
}

func (r TrustRepository) update(ctx context.Context, dir string) (_ *Published, err error) {
	begin, err := r.begin(dir)
	if err != nil {
		return nil, err
	}
	config, err := tufconfig.New(r.url(), begin)
	if err != nil {
		return nil, err
	}
	// What is believed of a repository changes when all of an update was right, and
	// not with the root.json that it begins with.
	work, err := workOn(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	config.LocalMetadataDir, config.LocalTargetsDir = work, dir
	config.Fetcher = trustFetcher{&http.Client{Transport: newServiceTransport(ctx, r.Transport)}}
	up, err := updater.New(config)
	if err != nil {
		return nil, err
	}
	if err := up.Refresh(); err != nil {
		return nil, err
	}
	set := up.GetTrustedMetadataSet()
	p := &Published{
		Repository: r.url(), File: filepath.Join(dir, targetTrustedRoot), Checked: time.Now().UTC().Truncate(time.Second),
		Expires: earliest(set.Timestamp.Signed.Expires, set.Snapshot.Signed.Expires, set.Targets[metadata.TARGETS].Signed.Expires, set.Root.Signed.Expires),
	}
	info := up.GetTopLevelTargets()
	if info[targetTrustedRoot] == nil {
		return nil, fmt.Errorf("no %s in it", targetTrustedRoot)
	}
	readable := func(raw []byte) error { _, err := ParseTrustedRoot(raw); return err }
	if p.TrustedRoot, err = fetchTarget(up, info[targetTrustedRoot], p.File, readable); err != nil {
		return nil, err
	}
	if p.SigningConfig, err = fetchTarget(up, info[targetSigningConfig], filepath.Join(dir, targetSigningConfig), nil); err != nil {
		return nil, err
	}
	for _, name := range keptMetadata {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	state, err := json.Marshal(keptAs{Version: keptVersion, Repository: p.Repository, Checked: p.Checked, Expires: p.Expires})
	if err != nil {
		return nil, err
	}
	return p, writeWhole(filepath.Join(dir, keptState), state)
}

// keptMetadata are the files of an updater, in the order in which they are to be
// replaced: each is signed by keys of one that comes before it.
var keptMetadata = []string{keptRoot, metadata.TARGETS + ".json", metadata.SNAPSHOT + ".json", metadata.TIMESTAMP + ".json"}

// workOn copies what is kept of a repository into a directory for one update, but
// for the root.json, which the update is given.
func workOn(dir string) (string, error) {
	work := filepath.Join(dir, ".update")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return "", err
	}
	for _, name := range keptMetadata[1:] {
		raw, err := readKept(filepath.Join(dir, name), maxKeptMetadata)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), raw, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	return work, nil
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times[1:] {
		if t.Before(first) {
			first = t
		}
	}
	return first.UTC()
}

// begin is the root.json that an update begins with: the newest of those that
// are trusted. An older one would bring keys back that have been revoked since.
func (r TrustRepository) begin(dir string) ([]byte, error) {
	given := r.Root
	if given == nil && r.url() == PublicTrust {
		given = tuf.DefaultRoot()
	}
	// Without a state there never was an update that went well, and what an
	// update began with is there all the same.
	_, err := os.Lstat(filepath.Join(dir, keptState))
	var kept []byte
	if err == nil {
		kept, err = readKept(filepath.Join(dir, keptRoot), maxRootBytes)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if given == nil {
			return nil, errors.New("no root.json to begin with: nothing that it shows could be checked")
		}
		return given, nil
	}
	if err != nil {
		return nil, err
	}
	is, err := metadata.Root().FromBytes(kept)
	if err != nil {
		return nil, fmt.Errorf("read what is kept: %w: remove %s to begin anew", err, dir)
	}
	if given == nil {
		return kept, nil
	}
	begin, err := metadata.Root().FromBytes(given)
	if err != nil {
		return nil, fmt.Errorf("root.json: %w", err)
	}
	if begin.Signed.Version > is.Signed.Version {
		return given, nil
	}
	return kept, nil
}

// fetchTarget returns what the repository publishes, and keeps it in a file, if
// it is as it should be. Nil is what it does not publish, and is not kept.
func fetchTarget(up *updater.Updater, info *metadata.TargetFiles, file string, check func([]byte) error) ([]byte, error) {
	if info == nil {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, nil
	}
	if info.Length > maxRootBytes {
		return nil, fmt.Errorf("%s of %d bytes, more than %d", filepath.Base(file), info.Length, maxRootBytes)
	}
	if _, raw, err := up.FindCachedTarget(info, file); err != nil || raw != nil {
		return raw, err
	}
	// A reader of another process sees the old one or the new one, whole.
	part := file + ".part"
	_, raw, err := up.DownloadTarget(info, part, "")
	if err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(raw); err != nil {
			return nil, errors.Join(err, os.Remove(part))
		}
	}
	return raw, os.Rename(part, file)
}

// Kept returns what the repository said when it was asked last; an error that
// wraps [fs.ErrNotExist] says that it never was. Whether that is out of date,
// Published.Expires tells: it is for the caller to decide what to make of it.
func (r TrustRepository) Kept() (*Published, error) {
	dir, err := r.dir()
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w", err)
	}
	raw, err := readKept(filepath.Join(dir, keptState), maxKeptState)
	if err != nil {
		return nil, fmt.Errorf("read trusted root of %s: %w", place(r.url()), err)
	}
	var state keptAs
	if err := json.Unmarshal(raw, &state); err != nil || state.Version != keptVersion {
		return nil, fmt.Errorf("read trusted root of %s: %s is not known: remove it to begin anew", place(r.url()), filepath.Join(dir, keptState))
	}
	p := &Published{Repository: r.url(), File: filepath.Join(dir, targetTrustedRoot), Checked: state.Checked, Expires: state.Expires}
	if p.TrustedRoot, err = readKept(p.File, maxRootBytes); err != nil {
		return nil, fmt.Errorf("read trusted root of %s: %w", place(r.url()), err)
	}
	p.SigningConfig, err = readKept(filepath.Join(dir, targetSigningConfig), maxRootBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read trusted root of %s: %w", place(r.url()), err)
	}
	return p, nil
}

// readKept reads a small file.
func readKept(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s has over %d bytes", file, limit)
	}
	return raw, err
}

// A trustFetcher downloads for the updater, with the requests of one update.
type trustFetcher struct{ client *http.Client }

// DownloadFile implements the updater's interface.
func (f trustFetcher) DownloadFile(from string, limit int64, _ time.Duration) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, from, nil) //nolint:noctx // the client's transport has it
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if answer, ok := errors.AsType[*ServiceError](err); ok {
		if answer.Status == http.StatusNotFound { // by which the updater knows the newest root
			return nil, &metadata.ErrDownloadHTTP{StatusCode: answer.Status, URL: place(from)}
		}
		return nil, answer
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrService, plain(err))
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s has over %d bytes", place(from), limit)}
	}
	return raw, err
}
