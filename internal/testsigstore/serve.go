package testsigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-openapi/runtime"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv2 "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	"google.golang.org/protobuf/encoding/protojson"
)

// requests are the paths that a served deployment was asked for, in order.
type requests struct {
	mu   sync.Mutex
	list []string
}

// Serve puts the services on loopback until the test ends, and fills in their
// URLs.
func (d *Deployment) Serve() *Deployment {
	d.t.Helper()
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func([]byte, *http.Request) ([]byte, error){
		"POST /fulcio/api/v2/signingCert": d.serveFulcio,
		"POST /rekor/api/v1/log/entries":  d.serveRekorV1,
		"POST /rekor/api/v2/log/entries":  d.serveRekorV2,
		"POST /tsa/api/v1/timestamp":      func(body []byte, _ *http.Request) ([]byte, error) { return d.answerStamp(body), nil },
		"GET /oidc/token":                 d.serveToken,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			d.asked.mu.Lock()
			d.asked.list = append(d.asked.list, r.URL.Path)
			d.asked.mu.Unlock()
			body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			if err == nil {
				body, err = serve(body, r)
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", entryID(body)) // by which the generated client finds the entry
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if strings.HasPrefix(r.URL.Path, "/rekor/") || strings.HasPrefix(r.URL.Path, "/tsa/") {
				w.WriteHeader(http.StatusCreated)
			}
			_, _ = w.Write(body) // the client is gone, or sees it
		})
	}
	srv := httptest.NewServer(mux)
	d.t.Cleanup(srv.Close)
	d.Fulcio, d.Rekor, d.TSA, d.Issuer = srv.URL+"/fulcio", srv.URL+"/rekor", srv.URL+"/tsa/api/v1/timestamp", srv.URL+"/oidc"
	return d
}

// Asked are the paths that the services were asked for so far, in order.
func (d *Deployment) Asked() []string {
	d.asked.mu.Lock()
	defer d.asked.mu.Unlock()
	return append([]string(nil), d.asked.list...)
}

// Token is an OIDC token for a mail address. Nobody but this deployment takes
// it, since nothing is signed.
func (d *Deployment) Token(email string) string {
	part := func(v any) string {
		raw, err := json.Marshal(v)
		d.check(err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": d.Issuer, "sub": email, "email": email, "email_verified": true, "aud": "sigstore", "exp": time.Now().Add(time.Hour).Unix(),
	}) + ".c2lnbmF0dXJl"
}

// serveToken gives a token as GitHub Actions does.
func (d *Deployment) serveToken(_ []byte, r *http.Request) ([]byte, error) {
	if r.Header.Get("Authorization") != "Bearer request-token" || r.URL.Query().Get("audience") != "sigstore" {
		return nil, errors.New("whose token?")
	}
	return json.Marshal(map[string]string{"value": d.Token("ci@example.com")})
}

// serveFulcio issues a certificate for whom the token names.
func (d *Deployment) serveFulcio(body []byte, r *http.Request) ([]byte, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		return nil, errors.New("no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var claims struct{ Iss, Email string }
	if err := json.Unmarshal(raw, &claims); err != nil {
		return nil, err
	}
	if claims.Iss != d.Issuer {
		return nil, fmt.Errorf("unknown issuer %q", claims.Iss)
	}
	var req struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	key, err := publicKey([]byte(req.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(claims.Email))
	if !ecdsa.VerifyASN1(key, sum[:], req.PublicKeyRequest.ProofOfPossession) {
		return nil, errors.New("the key is not yours")
	}
	cert := d.leaf(claims.Email, claims.Iss, key)
	chain := map[string]any{"certificates": []string{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.caIssuer.Raw})),
	}}
	return json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": chain}})
}

func publicKey(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key")
	}
	var parsed crypto.PublicKey
	var err error
	if block.Type == "CERTIFICATE" {
		cert, certErr := x509.ParseCertificate(block.Bytes)
		if certErr != nil {
			return nil, certErr
		}
		parsed = cert.PublicKey
	} else if parsed, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T", parsed)
	}
	return key, nil
}

// serveRekorV1 takes an entry as Rekor of the first version does: what is
// proposed is checked, and kept in its canonical form.
func (d *Deployment) serveRekorV1(body []byte, r *http.Request) ([]byte, error) {
	proposed, err := models.UnmarshalProposedEntry(bytes.NewReader(body), runtime.JSONConsumer())
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	canonical, err := types.CanonicalizeEntry(r.Context(), entry)
	if err != nil {
		return nil, err
	}
	made := d.entryV1(canonical, proposed.Kind())
	id := strings.Repeat("0", 16) + hex.EncodeToString(made.InclusionProof.RootHash)
	return json.Marshal(map[string]any{id: map[string]any{
		"body": canonical, "integratedTime": made.IntegratedTime, "logIndex": made.LogIndex, "logID": hex.EncodeToString(made.LogId.KeyId),
		"verification": map[string]any{
			"signedEntryTimestamp": made.InclusionPromise.SignedEntryTimestamp,
			"inclusionProof": map[string]any{
				"logIndex": made.InclusionProof.LogIndex, "treeSize": made.InclusionProof.TreeSize, "hashes": []string{},
				"rootHash":   hex.EncodeToString(made.InclusionProof.RootHash),
				"checkpoint": made.InclusionProof.Checkpoint.Envelope,
			},
		},
	}})
}

// serveRekorV2 takes an entry as Rekor of the second version does.
func (d *Deployment) serveRekorV2(body []byte, _ *http.Request) ([]byte, error) {
	var req rekorv2.CreateEntryRequest
	if err := protojson.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	hashed := req.GetHashedRekordRequestV002()
	if hashed.GetSignature().GetVerifier() == nil {
		return nil, errors.New("invalid type, must be hashedrekord")
	}
	verifier := hashed.Signature.Verifier
	if verifier.KeyDetails != protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256 {
		return nil, fmt.Errorf("key of type %v", verifier.KeyDetails)
	}
	made := d.entryV2(hashed.Digest, hashed.Signature.Content, verifier)
	return protojson.Marshal(made)
}

// entryID is the name of the entry in an answer of Rekor of the first version.
func entryID(answer []byte) string {
	var list map[string]json.RawMessage
	if json.Unmarshal(answer, &list) == nil {
		for id := range list {
			return id
		}
	}
	return ""
}

// SigningConfig is the signing_config.json of a served deployment, with the log
// of the version given.
func (d *Deployment) SigningConfig(log Log) []byte {
	d.t.Helper()
	from := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	service := func(u string, version int) []map[string]any {
		return []map[string]any{{"url": u, "majorApiVersion": version, "validFor": map[string]string{"start": from}, "operator": "test"}}
	}
	config := map[string]any{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		"caUrls":    service(d.Fulcio, 1), "oidcUrls": service(d.Issuer, 1),
		"tsaUrls": service(d.TSA, 1), "tsaConfig": map[string]string{"selector": "ANY"},
	}
	if log != NoEntry {
		config["rekorTlogUrls"], config["rekorTlogConfig"] = service(d.Rekor, int(log)), map[string]string{"selector": "ANY"}
	}
	raw, err := json.Marshal(config)
	d.check(err)
	return raw
}
