package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// announceTimeout bounds the wait for a cluster that takes new members.
const (
	announceTimeout = 2 * time.Minute
	announcePause   = 2 * time.Second
)

// promotePause is how long a new member waits before it asks again whether it has caught up.
const promotePause = 500 * time.Millisecond

// Announce tells the cluster that a member answers at an endpoint of c, and returns c with what Start needs to know
// of the others. A second call for the same member finds it announced.
func Announce(ctx context.Context, endpoint string, c Config) (Config, error) {
	config := clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()}
	if c.TLS != nil {
		var err error
		info := c.TLS.info()
		if config.TLS, err = info.ClientConfig(); err != nil {
			return c, fmt.Errorf("certificate of etcd member %s: %w", c.Name, err)
		}
	}
	client, err := clientv3.New(config)
	if err != nil {
		return c, fmt.Errorf("etcd at %s: %w", endpoint, err)
	}
	defer client.Close()
	list, err := client.MemberList(ctx)
	if err != nil {
		return c, fmt.Errorf("ask etcd at %s for its members: %w", endpoint, err)
	}
	c.Join, c.Peers = true, map[string]string{}
	known := false
	for _, m := range list.Members {
		for _, u := range m.PeerURLs {
			switch {
			case u == c.PeerURL():
				known = true
			case m.Name == c.Name:
				return c, fmt.Errorf("etcd at %s has a member %s already, at %s; give this server another --node-name, or remove that member with etcdctl", endpoint, c.Name, u)
			case m.Name != "":
				c.Peers[m.Name] = u
			}
		}
	}
	c.Peers[c.Name] = c.PeerURL()
	if known {
		return c, nil
	}
	if err := addLearner(ctx, client, c.PeerURL()); err != nil {
		return c, fmt.Errorf("announce etcd member %s to %s: %w", c.Name, endpoint, err)
	}
	return c, nil
}

// addLearner adds a member without a vote: one that never comes up costs the cluster nothing. While another joins,
// or has just joined, the cluster takes none; so this tries again for a while.
func addLearner(ctx context.Context, client *clientv3.Client, peerURL string) error {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	for {
		_, err := client.MemberAddAsLearner(ctx, []string{peerURL})
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) && !errors.Is(err, rpctypes.ErrTooManyLearners) {
			return err
		}
		slog.Info("the etcd cluster takes no new member at the moment; will be tried again", "err", err)
		select {
		case <-time.After(announcePause):
		case <-ctx.Done():
			return fmt.Errorf("%w; check that all its members run", err)
		}
	}
}

// Promote returns when the member has a vote. A new one gets it once it has caught up.
func (m *Member) Promote(ctx context.Context) error {
	for m.etcd.Server.IsLearner() {
		_, err := m.etcd.Server.PromoteMember(ctx, uint64(m.etcd.Server.MemberID()))
		if err == nil {
			return nil
		}
		slog.Debug("etcd member is not a voter yet", "member", m.name, "err", err)
		select {
		case <-time.After(promotePause):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("etcd member %s does not catch up with its cluster: %w", m.name, err), ctx.Err())
		}
	}
	return nil
}
