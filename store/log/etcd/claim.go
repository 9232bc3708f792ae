package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Claim writes a value under a key that nobody has written before, and returns "" then; else what is there. Only one
// of several that claim the same key at a time succeeds.
func (l *Log) Claim(ctx context.Context, key, value string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := l.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return "", fmt.Errorf("etcd %s: claim %s: %w", l.name(), key, fault(ctx, err))
	}
	if resp.Succeeded {
		return "", nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		return string(kv.Value), nil
	}
	return "", nil
}
