// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package netns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// keysFor is how long a cluster's keys are good: longer than any run, and no longer
// than a kept cluster is of use.
const keysFor = 7 * 24 * time.Hour

// keys are what the API server is known by, and what its administrator is.
type keys struct {
	ca     []byte // PEM
	token  string // of the administrator
	dir    string
	tokens string // path of the API server's token file
}

// newKeys makes a certificate authority, the API server's certificate for addrs, a key
// to sign service accounts' tokens with, and the administrator's token, all new.
func newKeys(dir string, addrs ...netip.Addr) (*keys, error) {
	fail := func(err error) (*keys, error) { return nil, fmt.Errorf("make keys: %w", err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lbmatrix"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(keysFor),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	}
	for _, a := range addrs {
		serving.IPAddresses = append(serving.IPAddresses, net.IP(a.AsSlice()))
	}
	servingKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, &servingKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	k := &keys{ca: encode("CERTIFICATE", caDER), token: hex.EncodeToString(secret[:]), dir: dir, tokens: filepath.Join(dir, "tokens.csv")}
	files := map[string][]byte{
		k.tokens:                          []byte(k.token + ",lbmatrix,lbmatrix,system:masters\n"),
		filepath.Join(dir, "ca.crt"):      k.ca,
		filepath.Join(dir, "serving.crt"): encode("CERTIFICATE", servingDER),
	}
	for name, key := range map[string]*ecdsa.PrivateKey{"serving.key": servingKey, "accounts.key": accounts} {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return fail(err)
		}
		files[filepath.Join(dir, name)] = encode("EC PRIVATE KEY", der)
	}
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return fail(err)
		}
	}
	return k, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
