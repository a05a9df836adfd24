package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/signing"
)

// What an attestation of a scan says, as cosign has it.
type (
	vulnPredicate struct {
		Invocation vulnInvocation `json:"invocation"`
		Scanner    vulnScanner    `json:"scanner"`
		Metadata   vulnMetadata   `json:"metadata"`
	}
	vulnInvocation struct {
		Parameters []string `json:"parameters"`
		URI        string   `json:"uri"`
		EventID    string   `json:"event_id"`
		BuilderID  string   `json:"builder.id"`
	}
	vulnScanner struct {
		URI     string     `json:"uri"`
		Version string     `json:"version"`
		DB      vulnDB     `json:"db"`
		Result  vulnResult `json:"result"`
	}
	vulnDB struct {
		URI     string `json:"uri"`
		Version string `json:"version"`
	}
	vulnResult struct {
		scan.Report
		Scanners []string `json:"scanners"`
		Omitted  int      `json:"findingsOmitted,omitempty"`
	}
	vulnMetadata struct {
		Started  string `json:"scanStartedOn"`
		Finished string `json:"scanFinishedOn"`
	}
)

const (
	vulnType   = "https://cosign.sigstore.dev/attestation/vuln/v1"
	scannerURI = "https://github.com/modelreg/modelreg"

	// maxAttestedFindings bounds the findings that are signed. The verdict is
	// that of all.
	maxAttestedFindings = 2000
)

// A scanned is a scan that is done.
type scanned struct {
	opts    ScanOptions
	started time.Time
}

// attestScan signs what was found in t and attaches it.
func (h *Hub) attestScan(ctx context.Context, t *target, res *ScanResult, s scanned) error {
	result := vulnResult{Report: res.Report, Scanners: res.Scanners}
	if n := len(result.Findings) - maxAttestedFindings; n > 0 {
		result.Findings, result.Omitted = result.Findings[:maxAttestedFindings], n
	}
	raw, err := json.Marshal(vulnPredicate{
		Invocation: vulnInvocation{Parameters: []string{}},
		Scanner:    vulnScanner{URI: scannerURI, Version: s.opts.Version, Result: result},
		Metadata: vulnMetadata{
			Started:  s.started.UTC().Format(time.RFC3339),
			Finished: time.Now().UTC().Format(time.RFC3339),
		},
	})
	if err != nil {
		return fmt.Errorf("encode scan report: %w", err)
	}
	made, err := signing.Attest(ctx, t.repo, signing.Target{Repository: t.ref.Name(), Descriptor: t.signed}, s.opts.Signer,
		signing.Predicate{Type: vulnType, Raw: raw}, signing.AttestOptions{})
	if err != nil {
		return fmt.Errorf("attach scan of %s: %w", t.ref, err)
	}
	res.Attestation = made.Digest.String()
	return nil
}
