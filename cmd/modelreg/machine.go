package main

import (
	"bufio"
	"context"
	"fmt"
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

// machine is what models can run on here, and warns of what could not be found out:
// another variant may be taken than usual.
func (a *app) machine(ctx context.Context) variant.Machine {
	m, err := machine(ctx)
	if err != nil {
		a.printer.Warn("%v: variants are chosen as if there were none: name one, as in REF#NAME", err)
	}
	return m
}

// machine tells what models can run on here. The memory is that of the machine,
// or of the container or session that this is in, and not what happens to be
// free: the same machine chooses the same variant every time.
func machine(ctx context.Context) (variant.Machine, error) {
	m := variant.Machine{Memory: totalMemory(), Devices: ownDevices()}
	devices, err := nvidia(ctx)
	m.Devices = append(m.Devices, devices...)
	return m, err
}

// nvidia asks the driver for its devices, if there is one.
func nvidia(ctx context.Context) ([]variant.Device, error) {
	smi, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// A process that hangs in a driver can be neither killed nor waited for.
	answer := make(chan []variant.Device, 1)
	go func() { answer <- askDriver(ctx, smi) }()
	select {
	case devices := <-answer:
		if len(devices) > 0 || ctx.Err() == nil {
			return devices, nil
		}
	case <-ctx.Done():
	}
	return nil, fmt.Errorf("ask nvidia-smi for devices: %w", ctx.Err())
}

// askDriver runs the driver's program until it has told of all devices, or ctx ends.
func askDriver(ctx context.Context, smi string) []variant.Device {
	ctx, cancel := context.WithCancel(ctx)
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
		shared := err != nil && strings.HasPrefix(memory, "[N/A]") // its memory is the machine's
		if !shared && (err != nil || mib <= 0) {
			continue
		}
		out = append(out, variant.Device{Kind: "cuda", Version: strings.TrimSpace(version), Memory: mib << 20})
	}
	return out
}
