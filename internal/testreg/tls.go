package testreg

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// A Certificate says what is wrong with a server's certificate.
type Certificate int

// The certificates.
const (
	GoodCertificate Certificate = iota
	WrongHost                   // for another name
	Expired
	SelfSigned // not by the authority
)

// startTLS starts f with a new certificate and returns the authority's.
func (f *front) startTLS(kind Certificate) (caPEM []byte, err error) {
	ca, err := newIdentity(caTemplate(), nil)
	if err != nil {
		return nil, err
	}
	signer := ca
	if kind == SelfSigned {
		signer = nil
	}
	leaf, err := newIdentity(leafTemplate(kind), signer)
	if err != nil {
		return nil, err
	}
	f.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.certificate()}, MinVersion: tls.VersionTLS12}
	f.StartTLS()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	f.Client().Transport = transport
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), nil
}

type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newIdentity makes a key and a certificate signed by signer, or by itself.
func newIdentity(template *x509.Certificate, signer *identity) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	parent, parentKey := template, key
	if signer != nil {
		parent, parentKey = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &identity{cert, key}, nil
}

func (i *identity) certificate() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key, Leaf: i.cert}
}

func caTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "testreg authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
}

func leafTemplate(kind Certificate) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "testreg"},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	switch kind {
	case WrongHost:
		c.DNSNames, c.IPAddresses = []string{"registry.example"}, nil
	case Expired:
		c.NotAfter = time.Now().Add(-time.Hour)
	}
	return c
}
