// Package member runs a member of an etcd cluster in this process: what several servers without a database of
// their own keep their state in. It is etcd itself, with its usual files below one directory, so that etcdctl and
// etcdutl work on it.
package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// The ports of etcd. Upstream's.
const (
	ClientPort = 2379
	PeerPort   = 2380
)

const (
	// maxRequest is the largest transaction: the API's limit for a body, and room for what is added to it.
	maxRequest = 4 << 20
	// quota is the largest database that etcd recommends.
	quota = 8 << 30
	// waiting is how often a member says that it waits for the others.
	waiting = 10 * time.Second
)

// TLS names the files of a member's certificate, which serves and asks, and of the authority of all members.
type TLS struct{ CA, Cert, Key string }

func (t *TLS) info() transport.TLSInfo {
	return transport.TLSInfo{CertFile: t.Cert, KeyFile: t.Key, ClientCertFile: t.Cert, ClientKeyFile: t.Key, TrustedCAFile: t.CA, ClientCertAuth: true}
}

// Config says what a member is. Once its directory has been filled, Peers and Join no longer matter.
type Config struct {
	Name string
	Dir  string
	Host string // address at which the others, and clients, reach it
	// ClientPort and PeerPort are etcd's if they are 0.
	ClientPort, PeerPort int
	TLS                  *TLS // nil only where nobody else can reach Host: in tests
	// Peers are the URLs of the members by name, this one's among them; empty: it is alone.
	Peers map[string]string
	// Join says that the cluster exists and has been told of this member (AddLearner).
	Join bool
	// Quota is the largest database in bytes, beyond which writes fail; 0: what etcd recommends as a maximum.
	Quota int64

	snapshotCount uint64 // entries between snapshots of the log; etcd's default if it is 0
}

// A Member is a running member.
type Member struct {
	name string
	etcd *embed.Etcd
}

// PeerURL is where the other members reach this one.
func (c Config) PeerURL() string { return c.url(c.PeerPort, PeerPort).String() }

// ClientURL is where clients reach this member.
func (c Config) ClientURL() string { return c.url(c.ClientPort, ClientPort).String() }

func (c Config) url(port, standard int) *url.URL {
	if port == 0 {
		port = standard
	}
	u := &url.URL{Scheme: "https", Host: net.JoinHostPort(c.Host, strconv.Itoa(port))}
	if c.TLS == nil {
		u.Scheme = "http"
	}
	return u
}

// Started says whether dir holds a member's state already.
func Started(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "wal"))
	return err == nil
}

// Start runs a member and returns when it takes part in its cluster: with ctx's error if no majority of the
// members is there before ctx ends.
func Start(ctx context.Context, c Config) (*Member, error) {
	e, err := embed.StartEtcd(c.embed())
	if err != nil {
		return nil, fmt.Errorf("etcd member %s in %s: %w", c.Name, c.Dir, err)
	}
	m := &Member{name: c.Name, etcd: e}
	for {
		select {
		case <-e.Server.ReadyNotify():
			return m, nil
		case err := <-e.Err():
			return nil, errors.Join(fmt.Errorf("etcd member %s in %s: %w", c.Name, c.Dir, err), m.Close())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("etcd member %s: no majority of its cluster's members is there: %w", c.Name, ctx.Err()), m.Close())
		case <-time.After(waiting):
			slog.Warn("waiting for a majority of the etcd members; start the other servers", "member", c.Name, "members", m.peers())
		}
	}
}

func (c Config) embed() *embed.Config {
	e := embed.NewConfig()
	e.Name, e.Dir = c.Name, c.Dir
	peer, client := c.url(c.PeerPort, PeerPort), c.url(c.ClientPort, ClientPort)
	e.ListenPeerUrls, e.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	e.ListenClientUrls, e.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	if c.TLS != nil {
		e.PeerTLSInfo, e.ClientTLSInfo = c.TLS.info(), c.TLS.info()
	}
	peers := c.Peers
	if len(peers) == 0 {
		peers = map[string]string{c.Name: peer.String()}
	}
	e.InitialCluster = join(peers)
	if c.Join {
		e.ClusterState = embed.ClusterStateFlagExisting
	}
	if c.snapshotCount > 0 {
		e.SnapshotCount = c.snapshotCount
	}
	e.MaxRequestBytes, e.QuotaBackendBytes = maxRequest, cmp.Or(c.Quota, quota)
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(c.Name))
	return e
}

func join(peers map[string]string) string {
	parts := make([]string, 0, len(peers))
	for name, u := range peers {
		parts = append(parts, name+"="+u)
	}
	return strings.Join(parts, ",")
}

func (m *Member) peers() []string {
	var out []string
	for _, p := range m.etcd.Server.Cluster().Members() {
		out = append(out, p.PeerURLs...)
	}
	return out
}

// Others returns where the other members of the cluster answer each other.
func (m *Member) Others() []string {
	var out []string
	for _, p := range m.etcd.Server.Cluster().Members() {
		if p.ID != m.etcd.Server.MemberID() {
			out = append(out, p.PeerURLs...)
		}
	}
	return out
}

// Client returns a client that calls the member directly. Who asks for it closes it.
func (m *Member) Client() *clientv3.Client { return v3client.New(m.etcd.Server) }

// LeaderChanged returns a channel that is closed when the cluster has another leader.
func (m *Member) LeaderChanged() <-chan struct{} { return m.etcd.Server.LeaderChangedNotify() }

// Run returns when ctx ends or the member fails.
func (m *Member) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-m.etcd.Err():
		return fmt.Errorf("etcd member %s: %w", m.name, err)
	case <-m.etcd.Server.StopNotify():
		return fmt.Errorf("etcd member %s stopped: it may have been removed from its cluster; to join again, remove its directory", m.name)
	}
}

// Close stops the member. Its place in the cluster stays.
func (m *Member) Close() error {
	m.etcd.Close()
	return nil
}
