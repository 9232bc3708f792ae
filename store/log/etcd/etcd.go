// Package etcd is the store's log in an etcd cluster that others may write to as well: further servers, a
// Kubernetes API server whose place is being taken, etcdctl. Keys, values, leases and the protocol of
// compaction are those of Kubernetes, so that either can read, back up and follow what the other wrote.
//
// Every write is one transaction that compares the key's modification revision. Every change, by whomever,
// comes back through one watch of the whole prefix. A Log keeps no state but its connection.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/version"

	"clipper/store/log"
)

const (
	// keepAlive finds connections that died without a word. Upstream's figures.
	keepAlive        = 30 * time.Second
	keepAliveTimeout = 10 * time.Second

	// openTimeout is how long Open tries to reach a member.
	openTimeout = 30 * time.Second
	openPause   = 500 * time.Millisecond
	// diagnoseTimeout bounds the search for the reason after that.
	diagnoseTimeout = 2 * time.Second

	// opTimeout bounds a call whose caller sets no bound. It is upstream's limit for a whole request.
	opTimeout = time.Minute

	pageSize = 1000 // keys in one answer while reading; about a megabyte

	// DefaultCompaction is how often history is thrown away. Upstream's figure.
	DefaultCompaction = 5 * time.Minute
)

// oldest is the first version whose progress notifications are true: before it one could overtake events.
var oldest = version.MustParseGeneric("3.5.13")

// Config says where an etcd cluster is. The zero value of a field means its default.
type Config struct {
	Endpoints []string    // "https://10.0.0.1:2379"
	TLS       *tls.Config // nil: as the endpoints' schemes say, without certificates of our own
	// Client is used instead of Endpoints and TLS where a member runs in this process. The Log closes it.
	Client *clientv3.Client
	// LeaderChanged returns a channel that is closed when the cluster has another leader, where a member runs in
	// this process.
	LeaderChanged func() <-chan struct{}

	// Dial connects to Endpoints; nil is an ordinary dial.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Prefix     string        // of all keys; "/registry"
	Compaction time.Duration // how often history is thrown away; 5 minutes, negative for never
	LeaseReuse time.Duration // how long new keys that end get the same lease, at most; a minute
}

// A Log is a log.Shared in an etcd cluster.
type Log struct {
	client     *clientv3.Client
	tls        *tls.Config
	root       string // prefix of all keys, with a slash at its end
	compaction time.Duration
	leases     leases

	leaderChanged func() <-chan struct{}
	term          term
}

var _ log.Shared = (*Log)(nil)

// Root returns the prefix of all keys that p stands for, with a slash at both ends.
func Root(p string) string {
	if p == "" {
		p = "registry"
	}
	return strings.TrimSuffix(path.Join("/", p), "/") + "/"
}

// dialOptions have the connection made by Dial, where there is one.
func (c *Config) dialOptions() []grpc.DialOption {
	if c.Dial == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			address = u.Host // the scheme is etcd's way to say whether there is TLS
		}
		return c.Dial(ctx, "tcp", address)
	})}
}

// Open connects to the cluster and returns when a member of it answers.
func Open(ctx context.Context, c Config) (*Log, error) {
	client := c.Client
	if client == nil {
		var err error
		client, err = clientv3.New(clientv3.Config{
			Endpoints: c.Endpoints, TLS: c.TLS, Logger: zap.NewNop(),
			DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveTimeout, DialOptions: c.dialOptions(),
		})
		if err != nil {
			return nil, fmt.Errorf("etcd %s: %w", strings.Join(c.Endpoints, ","), err)
		}
	}
	l := &Log{client: client, tls: c.TLS, root: Root(c.Prefix), compaction: c.Compaction, leases: leases{client: client, now: time.Now, reuse: c.LeaseReuse},
		leaderChanged: c.LeaderChanged}
	if l.leases.reuse == 0 {
		l.leases.reuse = DefaultLeaseReuse
	}
	if l.compaction == 0 {
		l.compaction = DefaultCompaction
	}
	if err := l.reach(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return l, nil
}

// reach waits until the cluster answers, and checks that its members are new enough.
func (l *Log) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	for {
		_, err := l.Revision(ctx)
		if err == nil {
			return l.checkVersion(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd %s does not answer: %w; check that a majority of its members runs, the addresses and the certificates", l.name(), errors.Join(err, l.diagnose()))
		case <-time.After(openPause):
		}
	}
}

// diagnose tries a connection to each member: unlike a call to the cluster, which is repeated until time is up,
// that fails with the reason.
func (l *Log) diagnose() error {
	ctx, cancel := context.WithTimeout(context.Background(), diagnoseTimeout)
	defer cancel()
	var errs []error
	for _, e := range l.client.Endpoints() {
		if u, err := url.Parse(e); err == nil { // else the client has taken it all the same: nothing can be said about it
			errs = append(errs, l.try(ctx, u))
		}
	}
	return errors.Join(errs...)
}

// try connects to one member and waits for the first that it says: a member that wants a certificate of us, or
// another one, says so after the handshake.
func (l *Log) try(ctx context.Context, member *url.URL) error {
	var conn net.Conn
	var err error
	if member.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: l.tls}).DialContext(ctx, "tcp", member.Host)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", member.Host)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(diagnoseTimeout / 2)); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: %w", member.Host, err)
	}
	return nil
}

func (l *Log) checkVersion(ctx context.Context) error {
	endpoints := l.client.Endpoints()
	if len(endpoints) == 0 {
		return nil // a member in this process
	}
	answer, err := l.client.Status(ctx, endpoints[0])
	if err != nil {
		return nil // not all members need to be there; those that are will answer for themselves
	}
	v, err := version.ParseGeneric(answer.Version)
	if err != nil {
		return fmt.Errorf("etcd %s: version %q: %w", l.name(), answer.Version, err)
	}
	if v.LessThan(oldest) {
		return fmt.Errorf("etcd %s is of version %s; upgrade it to %s or later", l.name(), v, oldest)
	}
	return nil
}

func (l *Log) name() string {
	if e := l.client.Endpoints(); len(e) > 0 {
		return "at " + strings.Join(e, ",")
	}
	return "in this process"
}

// Read implements log.Shared.
func (l *Log) Read(ctx context.Context, under string, revision int64, fn func(log.Entry) error) (int64, error) {
	end := clientv3.GetPrefixRangeEnd(under)
	for key := under; ; {
		resp, err := l.client.Get(ctx, key, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(pageSize))
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return 0, log.ErrCompacted
		case errors.Is(err, rpctypes.ErrFutureRev):
			return 0, log.ErrFuture
		case err != nil:
			return 0, fault(ctx, err)
		}
		if revision == 0 {
			revision = resp.Header.Revision // the following pages show the same state
		}
		for i, kv := range resp.Kvs {
			if err := fn(log.Entry{Key: string(kv.Key), Value: kv.Value, Created: kv.CreateRevision, Revision: kv.ModRevision}); err != nil {
				return 0, err
			}
			key = string(kv.Key) + "\x00"
			resp.Kvs[i] = nil // a large state must not be in memory twice
		}
		if !resp.More {
			return revision, nil
		}
	}
}

func (l *Log) put(ctx context.Context, c log.Change) (clientv3.Op, error) {
	if c.TTL == 0 {
		return clientv3.OpPut(c.Key, string(c.Value)), nil
	}
	id, err := l.leases.take(ctx, c.TTL)
	return clientv3.OpPut(c.Key, string(c.Value), clientv3.WithLease(id)), err
}

// Size implements log.Sized. It is that of one member: every member keeps everything.
func (l *Log) Size(ctx context.Context) (int64, error) {
	member := ""
	if e := l.client.Endpoints(); len(e) > 0 {
		member = e[0]
	}
	answer, err := l.client.Status(ctx, member)
	if err != nil {
		return 0, fault(ctx, err)
	}
	return answer.DbSize, nil
}

// Close implements log.Shared.
func (l *Log) Close() error {
	if err := l.client.Close(); !errors.Is(err, context.Canceled) { // the client of a member in this process always says so
		return err
	}
	return nil
}

// fault tells the caller's end of patience from the cluster's failures.
func fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s, ok := status.FromError(err); ok && s.Code() == codes.Canceled {
		err = errors.New(s.Message()) // the connection's, not the caller's
	}
	return &log.FaultError{Err: err, TooLarge: isTooLarge(err)}
}

// isTooLarge says whether etcd, or the connection to it, refused a request for its size.
func isTooLarge(err error) bool {
	s, _ := status.FromError(err)
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "message larger than max")
}
