package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/go-openapi/strfmt"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekorv2pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/models"
	"google.golang.org/protobuf/encoding/protojson"
)

// A logClient speaks to one Rekor, with the requests of one signature. It has
// the methods that sigstore-go wants of either version's client; its own have
// transports that cannot be given a context.
type logClient struct {
	client *http.Client
	base   string
}

func (c *logClient) do(method, at string, body []byte) ([]byte, http.Header, error) {
	u := strings.TrimSuffix(c.base, "/") + at
	req, err := http.NewRequest(method, u, bytes.NewReader(body)) //nolint:noctx // the client has it
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, plain(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return raw, resp.Header, err
}

// plain takes away what http.Client puts around an error: the whole URL.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Add writes an entry to a log of the second version.
func (c *logClient) Add(_ context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	hashed, ok := entry.(*rekorv2pb.HashedRekordRequestV002)
	if !ok {
		return nil, fmt.Errorf("log entry of type %T", entry)
	}
	body, err := protojson.Marshal(&rekorv2pb.CreateEntryRequest{
		Spec: &rekorv2pb.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: hashed},
	})
	if err != nil {
		return nil, err
	}
	raw, _, err := c.do(http.MethodPost, "/api/v2/log/entries", body)
	if err != nil {
		return nil, err
	}
	var made protorekor.TransparencyLogEntry
	if err := protojson.Unmarshal(raw, &made); err != nil {
		return nil, fmt.Errorf("decode log entry: %w", err)
	}
	return &made, nil
}

const entriesV1 = "/api/v1/log/entries"

// CreateLogEntry writes an entry to a log of the first version.
func (c *logClient) CreateLogEntry(params *entries.CreateLogEntryParams, _ ...entries.ClientOption) (*entries.CreateLogEntryCreated, error) {
	body, err := json.Marshal(params.ProposedEntry)
	if err != nil {
		return nil, err
	}
	raw, _, err := c.do(http.MethodPost, entriesV1, body)
	if answer, ok := errors.AsType[*ServiceError](err); ok && answer.Status == http.StatusConflict {
		there := entries.NewCreateLogEntryConflict()
		there.Location = strfmt.URI(answer.location)
		return nil, there
	}
	if err != nil {
		return nil, err
	}
	list, id, err := entriesOf(raw)
	if err != nil {
		return nil, err
	}
	return &entries.CreateLogEntryCreated{ETag: id, Payload: list}, nil
}

// GetLogEntryByUUID reads an entry of a log of the first version.
func (c *logClient) GetLogEntryByUUID(params *entries.GetLogEntryByUUIDParams, _ ...entries.ClientOption) (*entries.GetLogEntryByUUIDOK, error) {
	raw, _, err := c.do(http.MethodGet, entriesV1+"/"+url.PathEscape(path.Base(params.EntryUUID)), nil)
	if err != nil {
		return nil, err
	}
	list, _, err := entriesOf(raw)
	if err != nil {
		return nil, err
	}
	return &entries.GetLogEntryByUUIDOK{Payload: list}, nil
}

// entriesOf decodes an answer that has one entry, and returns its ID too. What
// the generated types take for granted must be there.
func entriesOf(raw []byte) (models.LogEntry, string, error) {
	var list models.LogEntry
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, "", fmt.Errorf("decode log entry: %w", err)
	}
	if len(list) != 1 {
		return nil, "", fmt.Errorf("decode log entry: %d entries instead of one", len(list))
	}
	for id, entry := range list {
		if err := entry.Validate(strfmt.Default); err != nil {
			return nil, "", fmt.Errorf("decode log entry: %w", err)
		}
		return list, id, nil
	}
	return nil, "", nil
}
