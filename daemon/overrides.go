package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/store"
	"clipper/store/log/etcd"
)

// An override has one resource kept in an etcd of its own.
type override struct {
	resource schema.GroupResource
	servers  []string // in order
}

var errOverrides = errors.New("--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated")

func parseOverrides(texts []string) ([]override, error) {
	var out []override
	for _, text := range texts {
		name, servers, ok := strings.Cut(text, "#")
		group, resource, both := strings.Cut(name, "/")
		o := override{schema.GroupResource{Group: group, Resource: resource}, strings.Split(servers, ";")}
		if !ok || !both || strings.Contains(resource, "/") || strings.Contains(servers, "#") || slices.Contains(o.servers, "") {
			return nil, errOverrides
		}
		slices.Sort(o.servers)
		out = append(out, o)
	}
	return out, nil
}

// An apart is what one etcd keeps beside the one that keeps all else.
type apart struct {
	servers  []string
	prefixes []string // of the resources, in the store
}

// apartments are the etcds of the overrides, in the order in which these name them first.
func apartments(overrides []override) []apart {
	var out []apart
	for _, o := range overrides {
		prefix := prefixOf(o.resource)
		if prefix == "" {
			slog.Warn("--etcd-servers-overrides names what is no built-in resource, which has no effect", "resource", o.resource)
			continue
		}
		i := slices.IndexFunc(out, func(a apart) bool { return slices.Equal(a.servers, o.servers) })
		if i < 0 {
			i, out = len(out), append(out, apart{servers: o.servers})
		}
		out[i].prefixes = append(out[i].prefixes, prefix)
	}
	return out
}

// prefixOf is where the objects of a built-in resource are; "" if there is none of that name.
func prefixOf(r schema.GroupResource) string {
	for _, known := range described() {
		if known.GroupResource() == r {
			return known.Prefix
		}
	}
	return ""
}

// openApart opens the stores of the overrides and has them keep what is theirs. The main store is open, and was told.
func (cp *controlPlane) openApart(ctx context.Context, c etcd.Config, o store.Options) error {
	for _, a := range cp.apart {
		c.Endpoints = a.servers
		l, err := etcd.Open(ctx, c)
		if err != nil {
			return fmt.Errorf("--etcd-servers-overrides: %w", err)
		}
		if _, err := cp.claim(ctx, l, o.Root); err != nil {
			return errors.Join(fmt.Errorf("--etcd-servers-overrides: %w", err), l.Close())
		}
		o.Keeps = func(prefix string) bool { return slices.Contains(a.prefixes, prefix) }
		s, err := store.OpenShared(ctx, l, o)
		if err != nil {
			return fmt.Errorf("--etcd-servers-overrides: %w", err)
		}
		cp.store.Annex(s, a.prefixes...)
	}
	return nil
}

// keptApart says whether a prefix is that of a resource with an etcd of its own.
func (cp *controlPlane) keptApart(prefix string) bool {
	return slices.ContainsFunc(cp.apart, func(a apart) bool { return slices.Contains(a.prefixes, prefix) })
}

// storeChecks are those of the datastore, and of the etcds of overrides under another name, with a number.
func (cp *controlPlane) storeChecks(name, overridden string, timeout time.Duration) map[string]func(context.Context) error {
	out := map[string]func(context.Context) error{name: healthy(cp.store, timeout)}
	for i, a := range cp.apart {
		out[fmt.Sprint(overridden, "-", i)] = healthy(cp.store.Of(a.prefixes[0]), timeout)
	}
	return out
}

// healthy checks a store, for a time at most.
func healthy(s *store.Store, timeout time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return s.Healthy(ctx)
	}
}
