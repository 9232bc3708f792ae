package pki

import (
	"crypto/x509"
	"path/filepath"
)

// EtcdFiles are the files that a member of etcd in the server's process needs.
type EtcdFiles struct{ CA, Cert, Key string }

// Etcd loads or makes the certificate of a member of etcd. It comes from an authority of its own: whoever holds one
// of that authority's certificates reads and writes everything, past all that the API server checks.
func (c *Cluster) Etcd(name string, hosts []string) (EtcdFiles, error) {
	a, err := loadAuthority(c.Dir, "etcd-ca", "clipper-etcd-ca")
	if err != nil {
		return EtcdFiles{}, err
	}
	p := Profile{CommonName: name, Hosts: hosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if _, err := a.loadLeaf(c.Dir, "etcd", p); err != nil {
		return EtcdFiles{}, err
	}
	return EtcdFiles{
		CA:   filepath.Join(c.Dir, "etcd-ca.crt"),
		Cert: filepath.Join(c.Dir, "etcd.crt"),
		Key:  filepath.Join(c.Dir, "etcd.key"),
	}, syncDir(c.Dir)
}
