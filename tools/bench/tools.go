package main

import (
	"os"
	"path/filepath"
)

// A tool is a client that is measured.
type tool struct {
	name string

	// push and pull return what to run. A tool without push pulls what tool
	// from has pushed.
	push func(t task) []command
	pull func(t task) []command

	// layout tells that it moves OCI layouts and no directories: it does less
	// than the others.
	layout bool

	// delta tells that its pulls of changed versions are measured.
	delta bool
}

// A task is what a command line is made of.
type task struct {
	cfg   config
	model *model
	host  string
	ref   string // host/repository:tag
	out   string // directory to pull into
	state string // what the tool keeps between commands
}

func (t task) peer(name string) string { return filepath.Join(t.cfg.peers, name) }

// ours is the name of the tool that the others are compared with.
const ours = "modelreg"

// tools lists those that are there.
func tools(cfg config) []tool {
	all := []tool{
		modelregTool(ours), orasTool("oras"), orasTool("oras-c8", "--concurrency", "8"), craneTool(), regctlTool(),
	}
	all[1].delta = true
	if cfg.modctl != "" {
		all = append(all, modctlTool())
	}
	if cfg.kit != "" {
		all = append(all, kitTool())
	}
	kept := all[:0]
	for _, t := range all {
		if cfg.wants(cfg.tools, t.name) {
			kept = append(kept, t)
		}
	}
	return kept
}

func modelregTool(name string) tool {
	return tool{
		name: name, delta: true,
		push: func(t task) []command { return []command{{"", []string{t.cfg.bin, "push", "-q", t.model.dir, t.ref}}} },
		pull: func(t task) []command { return []command{{"", []string{t.cfg.bin, "pull", "-q", t.ref, t.out}}} },
	}
}

func orasTool(name string, flags ...string) tool {
	args := func(t task, verb string, more ...string) []string {
		a := append([]string{t.peer("oras"), verb, "--plain-http", "--no-tty"}, flags...)
		return append(a, more...)
	}
	return tool{
		name: name,
		push: func(t task) []command {
			return []command{{t.model.dir, args(t, "push", append([]string{t.ref}, t.model.files...)...)}}
		},
		pull: func(t task) []command { return []command{{"", args(t, "pull", "-o", t.out, t.ref)}} },
	}
}

func craneTool() tool {
	return tool{
		name: "crane", layout: true,
		push: func(t task) []command {
			return []command{{"", []string{t.peer("crane"), "push", t.model.layout, t.ref}}}
		},
		pull: func(t task) []command {
			return []command{{"", []string{t.peer("crane"), "pull", "--format", "oci", t.ref, t.out}}}
		},
	}
}

func regctlTool() tool {
	args := func(t task, more ...string) []string {
		return append([]string{t.peer("regctl"), "--host", "reg=" + t.host + ",tls=disabled", "artifact"}, more...)
	}
	return tool{
		name: "regctl",
		push: func(t task) []command {
			a := args(t, "put", "--artifact-type", "application/x-bench", "--file-title")
			for _, f := range t.model.files {
				a = append(a, "--file", f, "--file-media-type", "application/octet-stream")
			}
			return []command{{t.model.dir, append(a, t.ref)}}
		},
		pull: func(t task) []command {
			return []command{{"", []string{"mkdir", "-p", t.out}}, {"", args(t, "get", "-o", t.out, t.ref)}}
		},
	}
}

func modctlTool() tool {
	args := func(t task, more ...string) []string {
		return append([]string{t.cfg.modctl, "--storage-dir", filepath.Join(t.state, "s"), "--log-dir", filepath.Join(t.state, "l"), "--no-progress"}, more...)
	}
	return tool{
		name: "modctl",
		push: func(t task) []command {
			file := filepath.Join(t.state, "Modelfile")
			_ = os.WriteFile(file, []byte(modelfile()), 0o600) // the command that reads it tells
			return []command{{"", args(t, "build", "--output-remote", "--plain-http", "--no-creation-time", "-f", file, "-t", t.ref, t.model.dir)}}
		},
		pull: func(t task) []command {
			return []command{{"", args(t, "pull", "--plain-http", "--extract-from-remote", "--extract-dir", t.out, t.ref)}}
		},
	}
}

func kitTool() tool {
	args := func(t task, more ...string) []string {
		return append([]string{t.cfg.kit, "--config", filepath.Join(t.state, "k"), "--progress", "none"}, more...)
	}
	return tool{
		name: "kit",
		push: func(t task) []command {
			file := filepath.Join(t.state, "Kitfile")
			_ = os.WriteFile(file, []byte(t.model.kitfile()), 0o600) // the command that reads it tells
			return []command{
				{"", args(t, "pack", t.model.dir, "-f", file, "-t", t.ref)},
				{"", args(t, "push", "--plain-http", t.ref)},
			}
		},
		pull: func(t task) []command {
			return []command{{"", args(t, "unpack", "--plain-http", "-o", "-d", t.out, t.ref)}}
		},
	}
}

// floors are what no client can be faster than on this machine: hashing the
// bytes, copying them, fetching them without looking. They are run on what
// modelreg has pushed.
func floors(digests map[string]string) []tool {
	paths := func(t task) []string {
		list := make([]string, len(t.model.files))
		for i, f := range t.model.files {
			list[i] = filepath.Join(t.model.dir, f)
		}
		return list
	}
	return []tool{
		{name: "floor-sha256", pull: func(t task) []command {
			return []command{{"", append([]string{"openssl", "dgst", "-sha256"}, paths(t)...)}}
		}},
		{name: "floor-cp", pull: func(t task) []command {
			return []command{{"", []string{"cp", "-r", t.model.dir, t.out}}}
		}},
		{name: "floor-curl", pull: func(t task) []command {
			args := []string{"curl", "-sf", "--create-dirs"}
			for _, f := range t.model.files {
				args = append(args, "-o", filepath.Join(t.out, f), "http://"+t.host+"/v2/bench/model/blobs/sha256:"+digests[f])
			}
			return []command{{"", args}}
		}},
	}
}

// tarFloor moves files as one archive, which was made before and is one blob: with
// the peer that is the fastest at that, and past all clients with curl and tar.
func tarFloor(file, sum string) tool {
	return tool{
		name: "floor-tar",
		push: func(t task) []command {
			return []command{{filepath.Dir(file), []string{
				t.peer("oras"), "push", "--plain-http", "--no-tty", t.host + "/bench/tar:v1", filepath.Base(file),
			}}}
		},
		pull: func(t task) []command {
			const script = `mkdir -p "$1" && curl -sf "$2" | tar -x -C "$1"`
			return []command{{"", []string{"sh", "-c", script, "sh", t.out, "http://" + t.host + "/v2/bench/tar/blobs/sha256:" + sum}}}
		},
	}
}
