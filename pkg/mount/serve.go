//go:build linux || darwin

package mount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// unchanging is for how long the kernel need not ask again: nothing here
	// changes while it is mounted.
	unchanging = 24 * time.Hour

	// readBytes is the most that the kernel asks for at once, which is what it
	// reads ahead by itself.
	readBytes = 128 << 10

	// background is how many reads the kernel has under way by itself.
	background = 64

	// lastReads is how long a mount that somebody still uses is waited for,
	// after it is gone from its directory.
	lastReads = time.Second
)

// Serve shows the files at dir, an empty directory, until ctx ends or somebody
// unmounts it, and calls ready when they are there. Who still has files of it open
// when ctx ends cannot read on. Errors wrap those of [CheckDir], or
// [ErrUnavailable]; how it ended is none.
//
// A process that is killed leaves a mount behind that nothing can be read from:
// CheckDir tells it from others, and umount removes it.
func (m *FS) Serve(ctx context.Context, dir string, ready func()) error {
	if err := CheckDir(dir); err != nil {
		return err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	server, direct, err := m.mount(abs)
	if err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	gone := make(chan struct{})
	go func() {
		server.Wait()
		close(gone)
	}()
	if ready != nil {
		ready()
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	m.stop() // who waits for the network need not wait for this
	if err := server.Unmount(); err != nil {
		if err := detach(abs, direct); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	last := time.NewTimer(lastReads)
	defer last.Stop()
	select {
	case <-gone:
	case <-last.C: // it ends with the process
	}
	return nil
}

// mount mounts, by itself if this process may, and else by the program that is
// installed for it.
func (m *FS) mount(dir string) (server *fuse.Server, direct bool, err error) {
	if err := available(); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if directFlags != 0 && os.Geteuid() == 0 {
		o := m.options()
		o.DirectMountStrict, o.DirectMountFlags = true, directFlags
		if server, err = fs.Mount(dir, m.tree(), o); err == nil {
			return server, true, nil
		}
	}
	helper, missing := findHelper()
	if missing != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, cmp.Or(err, missing))
	}
	o := m.options()
	o.Options = append(o.Options, "ro", "noexec")
	if server, err = fs.Mount(dir, m.tree(), o); err != nil {
		return nil, false, fmt.Errorf("%w: %s: %s", ErrUnavailable, helper, strings.TrimSpace(err.Error()))
	}
	return server, false, nil
}

func (m *FS) options() *fs.Options {
	forever := unchanging
	return &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever, NegativeTimeout: &forever,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Logger: log.New(io.Discard, "", 0),
		MountOptions: fuse.MountOptions{
			FsName: strings.ReplaceAll(m.opts.Name, ",", ";"), Name: "modelreg",
			Options:       []string{"default_permissions"},
			MaxWrite:      readBytes,
			MaxBackground: background,
			DisableXAttrs: true,
			Logger:        log.New(io.Discard, "", 0),
		},
	}
}

// A directory is a node that has nothing but names.
type directory struct {
	fs.Inode
	of   *FS
	tree []shown // below it, for the root; nil for others
}

// tree returns the root of the files. Each mount needs its own.
func (m *FS) tree() *directory { return &directory{of: m, tree: m.files} }

// OnAdd implements [fs.NodeOnAdder]. Inodes have the numbers of the files' order,
// so that they are the same in each mount of a version.
func (d *directory) OnAdd(ctx context.Context) {
	number := uint64(fuse.FUSE_ROOT_ID)
	add := func(at *fs.Inode, name string, node fs.InodeEmbedder, mode uint32) *fs.Inode {
		number++
		child := at.NewPersistentInode(ctx, node, fs.StableAttr{Mode: mode, Ino: number})
		at.AddChild(name, child, false)
		return child
	}
	for _, f := range d.tree {
		at := &d.Inode
		names := strings.Split(f.path, "/")
		last := len(names) - 1
		for _, name := range names[:last] {
			child := at.GetChild(name)
			if child == nil {
				child = add(at, name, &directory{of: d.of}, fuse.S_IFDIR)
			}
			at = child
		}
		add(at, names[last], &regular{file: f.file}, fuse.S_IFREG)
	}
}

// Getattr implements [fs.NodeGetattrer].
func (d *directory) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.of.attributes(&out.Attr, fuse.S_IFDIR|0o555, 0)
	return fs.OK
}

func (m *FS) attributes(a *fuse.Attr, mode uint32, size int64) {
	a.Mode, a.Size, a.Blocks, a.Nlink = mode, uint64(size), uint64(size+511)/512, 1
	a.SetTimes(&m.opts.Time, &m.opts.Time, &m.opts.Time)
}

// A regular is the node of a file.
type regular struct {
	fs.Inode
	file *file
}

// Getattr implements [fs.NodeGetattrer].
func (r *regular) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	r.file.fs.attributes(&out.Attr, fuse.S_IFREG|0o444, r.file.Size)
	return fs.OK
}

// Open implements [fs.NodeOpener].
func (r *regular) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&(syscall.O_WRONLY|syscall.O_RDWR) != 0 {
		return nil, 0, syscall.EROFS
	}
	return nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

// Read implements [fs.NodeReader]. It goes on when the kernel says that a signal
// has come: a page fault that ended for that would end the program.
func (r *regular) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := r.file.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:n]), fs.OK
}
