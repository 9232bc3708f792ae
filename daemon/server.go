package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"clipper/apiserver"
	"clipper/apiserver/aggregation"
	"clipper/apiserver/allocate"
	"clipper/apiserver/audit"
	"clipper/apiserver/bootstrap"
	"clipper/apiserver/customresource"
	"clipper/apiserver/fairness"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/resourcemetrics"
	"clipper/apiserver/servingcert"
	"clipper/controllers/servicecidr"
	"clipper/pki"
	"clipper/store"
	"clipper/store/encrypt"
	"clipper/store/log/etcd/member"
	"clipper/store/meter"
)

// A controlPlane is a server's parts, ready to run.
type controlPlane struct {
	options    ServerOptions
	pki        *pki.Cluster
	callouts   callouts
	encryption *encrypt.Providers
	member     *member.Member  // of etcd; nil for the most part
	shared     bool            // other servers may work on the same state
	claims     allocate.Claims // among them; nil if there are none
	store      *store.Store
	apart      []apart      // what other etcds keep for it
	meter      *meter.Meter // of the store
	pipeline   *pipeline.Pipeline
	auditor    *audit.Auditor    // nil: nothing is recorded
	client     *inprocess.Client // as the API server itself
	allocator  *allocate.Allocator
	addresses  *servicecidr.Addresses // that it has given
	collectors []prometheus.Collector // what parts of the server count
	api        *apiserver.Server
	fairness   *fairness.Controller // nil: off
	customs    *customresource.Controller
	registrar  *aggregation.Registrar
	extensions *aggregation.Controller
	usage      *resourcemetrics.Collector
	held       *aggregation.Held // for the namespace controller
	collected  *aggregation.Held // for the garbage collector
	certs      *servingcert.Files
	listeners  []net.Listener
	debug      net.Listener // nil: there is none
	advertise  netip.AddrPort
	services   []netip.Prefix // one of each IP family; the first is the default one's
	serviceIP  netip.Addr     // of default/kubernetes: the first of the service range

	identity
}

// RunServer runs the control plane and, unless the options say otherwise, a node, until ctx ends.
func RunServer(ctx context.Context, o ServerOptions) error {
	debug.SetGCPercent(startGrowth)
	if err := o.complete(); err != nil {
		return err
	}
	if !o.DisableAgent {
		if err := preflight(); err != nil {
			return err
		}
	}
	cp, err := newControlPlane(ctx, o)
	if err != nil {
		return err
	}
	defer cp.close()
	tuneMemory(ctx)
	group, ctx := errgroup.WithContext(ctx)
	cp.run(ctx, group)
	group.Go(func() error { return releaseStartup(ctx) })
	if !o.DisableAgent {
		group.Go(func() error { return cp.runNode(ctx) })
	}
	err = group.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // asked to stop
	}
	return err
}

// newControlPlane opens everything that can fail before anything runs. Ports first: a server that is
// already there is the likeliest fault, and nothing has been made by then.
func newControlPlane(ctx context.Context, o ServerOptions) (_ *controlPlane, err error) {
	cp := &controlPlane{options: o}
	defer func() {
		if err != nil {
			cp.close()
		}
	}()
	if err := cp.listen(); err != nil {
		return nil, err
	}
	if err := cp.enter(ctx); err != nil {
		return nil, err
	}
	if cp.services, err = serviceRanges(o.ServiceCIDR); err != nil {
		return nil, err
	}
	cp.serviceIP = cp.services[0].Addr().Next()
	cp.pki, err = pki.LoadOrCreate(filepath.Join(o.Node.DataDir, "pki"), pki.Options{
		Hosts:         append([]string{cp.serviceIP.String(), o.Node.IP, o.Node.Name, cp.advertise.Addr().String(), o.Front.externalName(), servingcert.LoopbackName}, o.SANs...),
		ClusterDomain: o.Node.Domain,
	})
	if err != nil {
		return nil, err
	}
	if cp.callouts, err = o.Callouts.open(cp.pki); err != nil {
		return nil, err
	}
	if err := cp.openStore(ctx); err != nil {
		return nil, err
	}
	if err := cp.assemble(ctx); err != nil {
		return nil, err
	}
	if err := bootstrap.Run(ctx, cp.client, cp.beginnings()); err != nil {
		return nil, fmt.Errorf("make the objects that every cluster has: %w", err)
	}
	return cp, cp.writeKubeconfig()
}

// beginnings are what the objects that every cluster has say of this one.
func (cp *controlPlane) beginnings() bootstrap.Config {
	return bootstrap.Config{
		Services: cp.services, ServiceIP: cp.serviceIP, Advertise: cp.advertise.Addr(), AdvertisePort: int(cp.advertise.Port()),
		ServerURL: "https://" + cp.advertise.String(),
		CA:        cp.pki.CA.CertPEM, FrontProxyCA: cp.pki.FrontProxyCA.CertPEM, FrontProxy: pki.FrontProxyUser,
		Authentication: cp.published,
		Now:            time.Now, Elsewhere: cp.shared || cp.options.Operation.Unannounced,
	}
}

// listen takes the API's ports.
func (cp *controlPlane) listen() error {
	o := cp.options
	l, err := o.Front.listen(o.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; stop what uses the port, or choose another", o.Listen, err)
	}
	cp.listeners = append(cp.listeners, l)
	if cp.debug, err = listenDebug(o.Operation.DebugSocket); err != nil {
		return err
	}
	if o.ListenFD > 0 {
		f := os.NewFile(uintptr(o.ListenFD), "listen-fd")
		inherited, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("--listen-fd %d: %w; it must be an inherited listening socket", o.ListenFD, err)
		}
		cp.listeners = append(cp.listeners, inherited)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if o.Front.Advertise.IsValid() {
		cp.advertise = netip.AddrPortFrom(o.Front.Advertise, uint16(port))
		return nil
	}
	ip, err := netip.ParseAddr(o.Node.IP)
	if err != nil {
		return fmt.Errorf("--node-ip %q: %w", o.Node.IP, err)
	}
	if bound := l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap(); o.ListenFD == 0 && !bound.IsUnspecified() && !bound.IsLoopback() {
		ip = bound // nothing answers at the node's
	}
	cp.advertise = netip.AddrPortFrom(ip, uint16(port))
	return nil
}

// writeKubeconfig leaves the administrator's kubeconfig in the data directory.
func (cp *controlPlane) writeKubeconfig() error {
	path := filepath.Join(cp.options.Node.DataDir, KubeconfigName)
	return cp.pki.WriteKubeconfig(path, "clipper", "https://"+cp.localAddress())
}

// run starts the control plane's parts in group.
func (cp *controlPlane) run(ctx context.Context, group *errgroup.Group) {
	if err := cp.customs.Sync(ctx); err != nil {
		slog.Warn("custom resources are not served yet", "err", err)
	}
	group.Go(func() error { return cp.api.Run(ctx) })
	cp.runOperation(ctx, group)
	if reload := cp.options.EncryptionReload; reload == nil || *reload {
		group.Go(func() error { return cp.encryption.Run(ctx) })
	}
	group.Go(func() error { return cp.certs.Run(ctx) })
	group.Go(func() error { return cp.callouts.Run(ctx) })
	group.Go(func() error { return cp.followAuthorities(ctx) })
	group.Go(func() error { return cp.oidc.Run(ctx) })
	group.Go(func() error { return cp.authorizer.Run(ctx) })
	if cp.outside != nil {
		group.Go(func() error { return cp.outside.Run(ctx) })
	}
	if cp.member != nil {
		group.Go(func() error { return cp.member.Run(ctx) })
	}
	group.Go(func() error { return cp.customs.Run(ctx) })
	group.Go(func() error { return cp.registrar.Run(ctx) })
	group.Go(func() error { return cp.extensions.Run(ctx) })
	group.Go(func() error { return cp.usage.Run(ctx) })
	cp.runControllers(ctx, group)
	cp.api.SetReady(true)
	slog.Info("API is served", "address", cp.advertise, "kubeconfig", filepath.Join(cp.options.Node.DataDir, KubeconfigName))
}

// close releases what newControlPlane took; listeners are closed by the API server once it runs, and
// closing them again does no harm.
func (cp *controlPlane) close() {
	for _, l := range cp.listeners {
		l.Close()
	}
	if cp.debug != nil {
		cp.debug.Close()
	}
	if cp.outside != nil {
		cp.outside.Close()
	}
	if cp.store != nil {
		if err := cp.store.Close(); err != nil {
			slog.Error("store not closed cleanly; what was acknowledged is safe", "err", err)
		}
	}
	if cp.member != nil {
		cp.member.Close()
	}
}
