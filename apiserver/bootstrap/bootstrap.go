// Package bootstrap gives a cluster the objects that every cluster has: the four namespaces, the default
// roles and bindings, the system priority classes, the Service through which pods reach the API, and the
// config maps that say whom to trust. Run does it at every start; what is there and right costs a look at
// the view, what is missing is created, and everything goes to the log in a few group commits.
package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// Config says what the objects say about this cluster.
type Config struct {
	Services      []netip.Prefix // the service ranges; their object lets nodes know them
	ServiceIP     netip.Addr     // of the Service default/kubernetes: the first address of the service range
	Advertise     netip.Addr     // where this API server is reached from pods
	AdvertisePort int
	ServerURL     string // for cluster-info: where nodes that join find the server
	CA            []byte // PEM
	FrontProxyCA  []byte // PEM
	FrontProxy    string // common name of the aggregator's client certificate
	Elsewhere     bool   // the endpoints of the Service are somebody else's: package presence's, if there are several servers
	// Authentication replaces entries of the config map that tells extension servers whom to believe.
	Authentication map[string]string
	Now            func() time.Time
}

// parallel is how many writes are under way at once: enough to fill the log's group commits.
const parallel = 64

// Run brings the objects into being. It can be repeated; a second run on the same store writes nothing.
func Run(ctx context.Context, c api.Client, cfg Config) error {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	_, again := api.Namespaces.View(c).Get("", metav1.NamespaceSystem)
	r := &run{c: c, again: again}
	r.group, r.ctx = errgroup.WithContext(ctx)
	r.group.SetLimit(parallel)
	for _, ns := range namespaces() {
		ensure(r, api.Namespaces, ns, nil)
	}
	for _, pc := range priorityClasses() {
		ensure(r, api.PriorityClasses, pc, nil)
	}
	for _, role := range append(clusterRoles(), controllerRoles()...) {
		ensure(r, api.ClusterRoles, role, reconcileClusterRole)
	}
	for _, b := range inherit(c, append(clusterRoleBindings(), controllerBindings()...)) {
		ensureBinding(r, api.ClusterRoleBindings, b, reconcileClusterRoleBinding)
	}
	if len(cfg.Services) > 0 {
		ensure(r, api.ServiceCIDRs, DefaultServiceCIDR(cfg.Services), nil)
	}
	if err := r.group.Wait(); err != nil {
		return err
	}
	// What is in a namespace needs the namespace first.
	r.group, r.ctx = errgroup.WithContext(ctx)
	r.group.SetLimit(parallel)
	for _, role := range roles() {
		ensure(r, api.Roles, role, reconcileRole)
	}
	for _, b := range roleBindings() {
		ensureBinding(r, api.RoleBindings, b, reconcileRoleBinding)
	}
	if err := r.configMaps(cfg); err != nil {
		return err
	}
	r.apiService(cfg)
	return r.group.Wait()
}

type run struct {
	c     api.Client
	again bool // the cluster has been there before
	// running: the server has started, and Services are as somebody may have changed them since.
	running bool
	group   *errgroup.Group
	ctx     context.Context
}

// ensure creates want, or updates what is there to what reconcile says; a nil reconcile leaves it alone.
func ensure[T api.Object](r *run, k api.Kind[T], want T, reconcile func(have, want T) T) {
	if reconcile == nil {
		reconcile = func(T, T) (none T) { return none }
	}
	ensureBinding(r, k, want, func(have, want T) (T, bool) { return reconcile(have, want), false })
}

// ensureBinding is ensure for objects that sometimes must be deleted and made again.
func ensureBinding[T api.Object](r *run, k api.Kind[T], want T, reconcile func(have, want T) (next T, recreate bool)) {
	r.group.Go(func() error {
		have, ok := k.View(r.c).Get(want.GetNamespace(), want.GetName())
		if !ok {
			_, err := k.Create(r.ctx, r.c, want)
			if apierrors.IsAlreadyExists(err) {
				err = nil // another server that starts at the same moment made it
			}
			return r.outcome(k.Resource, want, "create", err)
		}
		next, recreate := reconcile(have, want)
		if any(next) == any(*new(T)) {
			return nil
		}
		if !recreate {
			_, err := k.Update(r.ctx, r.c, next)
			return r.outcome(k.Resource, want, "update", err)
		}
		uid := have.GetUID()
		err := k.Delete(r.ctx, r.c, have.GetNamespace(), have.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err == nil || apierrors.IsNotFound(err) {
			next.SetResourceVersion("")
			next.SetUID("")
			_, err = k.Create(r.ctx, r.c, next)
		}
		return r.outcome(k.Resource, want, "recreate", err)
	})
}

// outcome turns a write's error into that of the start. A cluster that has served before is served again all the same:
// what keeps its objects from being written may be a webhook, and only through this server can anyone remove that.
func (r *run) outcome(resource api.Resource, o api.Object, verb string, err error) error {
	if err = failed(resource, o, verb, err); err == nil || !r.again || r.ctx.Err() != nil {
		return err
	}
	slog.Error("an object of the cluster's own is not as it should be; the next start tries again", "err", err)
	return nil
}

func failed(r api.Resource, o api.Object, verb string, err error) error {
	if err == nil {
		return nil
	}
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return fmt.Errorf("bootstrap: %s %s %s: %w", verb, r.Name, name, err)
}
