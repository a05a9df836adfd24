package main

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/variant"
)

const (
	// probeTimeout bounds the wait for a driver: one that hangs must not keep
	// anybody from a pull.
	probeTimeout = 3 * time.Second

	maxProbe   = 64 << 10
	maxDevices = 64
)

// machine tells what models can run on here. The memory is that of the machine,
// or of the container or session that this is in, and not what happens to be
// free: the same machine chooses the same variant every time.
func machine(ctx context.Context) variant.Machine {
	m := variant.Machine{Memory: totalMemory(), Devices: ownDevices()}
	m.Devices = append(m.Devices, nvidia(ctx)...)
	return m
}

// nvidia asks the driver for its devices, if there is one.
func nvidia(ctx context.Context) []variant.Device {
	smi, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, smi, "--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits")
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	devices := readDevices(io.LimitReader(out, maxProbe))
	cancel() // what follows is not read
	if err := cmd.Wait(); err != nil && len(devices) == 0 {
		return nil
	}
	return devices
}

// readDevices reads lines such as "24564, 8.9": MiB, and what the device can do.
func readDevices(r io.Reader) []variant.Device {
	var out []variant.Device
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(out) < maxDevices {
		memory, version, _ := strings.Cut(lines.Text(), ",")
		mib, err := strconv.ParseInt(strings.TrimSpace(memory), 10, 32)
		if err != nil || mib <= 0 {
			continue // "[N/A]" where memory is the machine's
		}
		out = append(out, variant.Device{Kind: "cuda", Version: strings.TrimSpace(version), Memory: mib << 20})
	}
	return out
}
