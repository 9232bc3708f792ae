package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/storage/storagebackend"

	"clipper/api"
	"clipper/apiserver/aggregation"
	"clipper/apiserver/customresource"
	"clipper/catalogue"
	"clipper/catalogue/all"
	"clipper/join"
	"clipper/store"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/member"
	"clipper/store/log/pebble"
	"clipper/store/meter"
)

// DatastoreOptions say where a server keeps the cluster's state: in its own data directory, unless one of the
// others is asked for.
type DatastoreOptions struct {
	Servers                   []string // URLs of an etcd cluster of the user's
	Overrides                 []string // group/resource#servers: what other clusters of theirs keep
	CAFile, CertFile, KeyFile string
	Prefix                    string
	Compaction                time.Duration // 0: never
	LeaseReuse                time.Duration // of events that are written one after the other

	Backend    string // "" or etcd3, which asks for one of the ways to have an etcd
	MediaType  string // of built-in objects in the log
	HideCounts bool   // /metrics does not tell how many objects there are
	HideSize   bool   // nor how large the log is

	// How long /healthz and /livez, and /readyz, wait for the datastore.
	HealthTimeout, ReadyTimeout time.Duration

	ClusterInit bool   // run the first member of an etcd cluster in this process; what was stored before goes there
	ClusterEnd  bool   // leave Servers, or the etcd cluster of which this server runs the only member; what was stored comes along
	Join        string // URL of another server: run a further member, or share Servers with it
	Token       string // for the first start with Join
}

// The state of the data directory: a store of its own, or a member of etcd.
const (
	storeDir  = "store"
	memberDir = "etcd"
)

// authorityKey is where the servers that share a state in etcd see that they belong together. It is outside of what
// Kubernetes uses, so that the state of any other cluster can be taken over.
func authorityKey(root string) string { return "/clipper" + root + "authority" }

// defaultCheckTimeout is upstream's.
const defaultCheckTimeout = 2 * time.Second

func defaultDatastore() DatastoreOptions {
	return DatastoreOptions{Prefix: "/registry", Compaction: etcd.DefaultCompaction, LeaseReuse: etcd.DefaultLeaseReuse, MediaType: runtime.ContentTypeProtobuf,
		HealthTimeout: defaultCheckTimeout, ReadyTimeout: defaultCheckTimeout}
}

// mediaTypes are how objects can be stored.
var mediaTypes = []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf}

// isEtcd says whether etcd can be reached at u.
func isEtcd(u *url.URL) bool {
	switch u.Scheme {
	case "http", "https":
		return u.Host != ""
	case "unix":
		return u.Path != ""
	}
	return false
}

func (o *DatastoreOptions) complete() error {
	var faults []error
	for _, s := range o.Servers {
		if u, err := url.Parse(s); err != nil || !isEtcd(u) {
			faults = append(faults, fmt.Errorf("--etcd-servers %q: not of the form https://host:2379 or unix:///path/of/socket", s))
		}
	}
	switch _, err := parseOverrides(o.Overrides); {
	case err != nil:
		faults = append(faults, err)
	case len(o.Overrides) > 0 && (len(o.Servers) == 0 || o.ClusterEnd):
		faults = append(faults, errors.New("--etcd-servers-overrides goes with --etcd-servers, and not with --cluster-end: what they keep would not come along"))
	}
	if o.Backend != "" && o.Backend != storagebackend.StorageTypeETCD3 {
		faults = append(faults, errors.New("--storage-backend invalid, allowed values: etcd3. If not specified, the state is kept in the data directory"))
	}
	if o.Backend == storagebackend.StorageTypeETCD3 && len(o.Servers) == 0 && !o.ClusterInit && o.Join == "" {
		faults = append(faults, errors.New("--storage-backend etcd3: --etcd-servers must be specified, or --cluster-init"))
	}
	if !slices.Contains(mediaTypes, o.MediaType) {
		faults = append(faults, fmt.Errorf("--storage-media-type %q invalid, allowed values: %s", o.MediaType, strings.Join(mediaTypes, ", ")))
	}
	if o.HealthTimeout <= 0 || o.ReadyTimeout <= 0 {
		faults = append(faults, fmt.Errorf("--etcd-healthcheck-timeout %v, --etcd-readycheck-timeout %v: both must be more than 0", o.HealthTimeout, o.ReadyTimeout))
	}
	if o.LeaseReuse < time.Second {
		faults = append(faults, fmt.Errorf("--lease-reuse-duration-seconds %v: give at least one", o.LeaseReuse.Seconds()))
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		faults = append(faults, errors.New("--etcd-certfile and --etcd-keyfile belong together"))
	}
	if len(o.Servers) > 0 && o.ClusterInit {
		faults = append(faults, errors.New("--cluster-init starts an etcd cluster, and --etcd-servers names one that runs: give one of them"))
	}
	if o.ClusterEnd && (o.ClusterInit || o.Join != "") {
		faults = append(faults, errors.New("--cluster-end makes the server one that runs alone; give it without --cluster-init and --join"))
	}
	if o.Join != "" {
		if u, err := url.Parse(o.Join); err != nil || u.Scheme != "https" || u.Host == "" {
			faults = append(faults, fmt.Errorf("--join %q: not an address of the form https://host:6443", o.Join))
		}
		if o.ClusterInit {
			faults = append(faults, errors.New("--cluster-init starts a cluster, and --join enters one: give one of them"))
		}
	}
	return errors.Join(faults...)
}

// enter gets what this server shares with the one that it joins.
func (cp *controlPlane) enter(ctx context.Context) error {
	o := cp.options.Datastore
	if o.Join == "" {
		return nil
	}
	return join.FetchServerKeys(ctx, o.Join, o.Token, filepath.Join(cp.options.Node.DataDir, "pki"))
}

// openStore opens the state, wherever it is.
func (cp *controlPlane) openStore(ctx context.Context) error {
	o := store.Options{
		Codec:     storedForm(cp.services[0], cp.options.Datastore.MediaType),
		Resources: prefixes(),
		Root:      etcd.Root(cp.options.Datastore.Prefix),
		TTL:       cp.options.Operation.timeToLive(),
	}
	overrides, err := parseOverrides(cp.options.Datastore.Overrides)
	if err != nil {
		return err
	}
	cp.apart = apartments(overrides)
	cp.meter = meter.New()
	cp.meter.Hide(meter.Hidden{Estimates: cp.options.Datastore.HideCounts, Size: cp.options.Datastore.HideSize})
	o.Committed = cp.meter.Committed
	d := cp.options.Datastore
	dir := filepath.Join(cp.options.Node.DataDir, memberDir)
	if err := finishConversion(cp.options.Node.DataDir); err != nil {
		return err
	}
	if d.ClusterEnd {
		if err := cp.end(ctx, dir, o); err != nil {
			return err
		}
	}
	switch {
	case len(d.Servers) > 0 && !d.ClusterEnd:
		err = cp.openExternal(ctx, o)
	case d.ClusterInit, d.Join != "", member.Started(dir):
		err = cp.openMember(ctx, dir, o)
	default:
		err = cp.openOwn(ctx, o)
	}
	if err == nil {
		cp.meter.Watch(cp.store)
	}
	return err
}

// described are the kinds that every server has.
func described() []*catalogue.Resource {
	return append(slices.Clip(all.Resources()), customresource.Definition(), aggregation.Definition())
}

// prefixes says what the store's keys mean.
func prefixes() map[string]api.Resource {
	out := map[string]api.Resource{}
	for _, r := range described() {
		if r.Prefix != "" {
			out[r.Prefix] = r.Resource
		}
	}
	return out
}

// openOwn opens a store that no other server shares.
func (cp *controlPlane) openOwn(ctx context.Context, o store.Options) error {
	dir := filepath.Join(cp.options.Node.DataDir, storeDir)
	used, err := cp.has(storeDir)
	if err == nil {
		err = cp.stay()
	}
	if err == nil {
		err = cp.openEncryption(ctx, used)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	l, err := pebble.Open(dir, nil)
	if err != nil {
		return err
	}
	o.Sealer = cp.encryption
	o.Root = store.DefaultRoot // the prefix is that of etcd
	cp.store, err = store.Open(l, o)
	return err
}

// end takes the state out of etcd, unless that has been done.
func (cp *controlPlane) end(ctx context.Context, dir string, o store.Options) error {
	if member.Started(dir) {
		return cp.toStore(ctx, o)
	}
	own, err := cp.has(storeDir)
	if err != nil || own || len(cp.options.Datastore.Servers) == 0 {
		return err
	}
	c, err := cp.external()
	if err != nil {
		return err
	}
	return cp.fromServers(ctx, c, o)
}

// external says where the etcd cluster of the user's is.
func (cp *controlPlane) external() (etcd.Config, error) {
	d := cp.options.Datastore
	c := etcd.Config{Endpoints: d.Servers, Prefix: d.Prefix, Compaction: -1, Dial: cp.callouts.ways.Etcd}
	if d.CAFile != "" || d.CertFile != "" {
		info := transport.TLSInfo{CertFile: d.CertFile, KeyFile: d.KeyFile, TrustedCAFile: d.CAFile}
		var err error
		if c.TLS, err = info.ClientConfig(); err != nil {
			return c, fmt.Errorf("--etcd-cafile, --etcd-certfile, --etcd-keyfile: %w", err)
		}
	}
	return c, nil
}

// openExternal opens the state in an etcd cluster of the user's. What the server has stored alone goes there.
func (cp *controlPlane) openExternal(ctx context.Context, o store.Options) error {
	c, err := cp.external()
	if err != nil {
		return err
	}
	own, err := cp.has(storeDir)
	switch {
	case err != nil:
	case own && len(cp.apart) > 0:
		err = errors.New("what this server has stored alone goes to --etcd-servers as a whole: start it once without --etcd-servers-overrides, and move what those name there")
	case own:
		err = cp.toServers(ctx, c, o)
	}
	if err != nil {
		return err
	}
	return cp.openShared(ctx, c, o)
}

// openMember opens the state in the etcd cluster of which this server runs a member.
func (cp *controlPlane) openMember(ctx context.Context, dir string, o store.Options) error {
	own := filepath.Join(cp.options.Node.DataDir, storeDir)
	alone, err := cp.has(storeDir)
	if err != nil {
		return err
	}
	if alone && cp.options.Datastore.ClusterInit && !member.Started(dir) {
		if err := cp.toMember(ctx, o); err != nil {
			return err
		}
		alone = false
	}
	if alone {
		return fmt.Errorf("%s holds the state of a server that ran alone; a member of etcd would begin without it: move it away, or give another --data-dir", own)
	}
	if err := cp.startMember(ctx, dir); err != nil {
		return err
	}
	return cp.openShared(ctx, etcd.Config{Client: cp.member.Client(), LeaderChanged: cp.member.LeaderChanged}, o)
}

// memberConfig says what this server's member is.
func (cp *controlPlane) memberConfig(dir string) (member.Config, error) {
	node := cp.options.Node
	files, err := cp.pki.Etcd(node.Name, []string{node.Name, node.IP, "localhost", "127.0.0.1", "::1"})
	return member.Config{Name: node.Name, Dir: dir, Host: node.IP, TLS: &member.TLS{CA: files.CA, Cert: files.Cert, Key: files.Key}}, err
}

func (cp *controlPlane) startMember(ctx context.Context, dir string) error {
	c, err := cp.memberConfig(dir)
	if err != nil {
		return err
	}
	if join := cp.options.Datastore.Join; join != "" && !member.Started(dir) {
		u, err := url.Parse(join)
		if err != nil {
			return fmt.Errorf("--join: %w", err)
		}
		there := member.Config{Host: u.Hostname(), TLS: c.TLS}
		if c, err = member.Announce(ctx, there.ClientURL(), c); err != nil {
			return err
		}
	}
	if cp.member, err = member.Start(ctx, c); err != nil {
		return err
	}
	return cp.member.Promote(ctx)
}

// openShared opens the state in an etcd cluster that other servers may share.
func (cp *controlPlane) openShared(ctx context.Context, c etcd.Config, o store.Options) error {
	d := cp.options.Datastore
	c.Prefix, c.Compaction, c.LeaseReuse = d.Prefix, d.Compaction, d.LeaseReuse
	if c.Compaction == 0 {
		c.Compaction = -1
	}
	l, err := etcd.Open(ctx, c)
	if err != nil {
		return err
	}
	claimed, err := cp.claim(ctx, l, o.Root)
	if err == nil {
		err = cp.openEncryption(ctx, claimed != "")
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	o.Sealer = cp.encryption
	cp.shared = true
	if len(cp.apart) > 0 {
		o.Keeps = func(prefix string) bool { return !cp.keptApart(prefix) }
	}
	if cp.store, err = store.OpenShared(ctx, l, o); err != nil {
		return err
	}
	if err := cp.openApart(ctx, c, o); err != nil {
		return err
	}
	cp.claims = &claims{log: l, store: cp.store, root: "/clipper" + o.Root + "claims/", server: string(uuid.NewUUID())}
	return nil
}

// claim makes etcd the place of this cluster, and returns what it has been before: "" for nothing.
func (cp *controlPlane) claim(ctx context.Context, l *etcd.Log, root string) (string, error) {
	claimed, err := l.Claim(ctx, authorityKey(root), cp.pki.CA.Hash(), 0)
	if err == nil && strings.TrimSpace(claimed) != cp.pki.CA.Hash() && claimed != "" {
		err = fmt.Errorf("etcd holds a cluster whose certificate authority is another than that in %s; make this machine one of its servers with --join and a token of `clipper token create --server`, or put that cluster's pki directory there", cp.pki.Dir)
	}
	return claimed, err
}

// claims are the values that a server is about to give to a service: it implements allocate.Claims.
type claims struct {
	log    *etcd.Log
	store  *store.Store
	root   string
	server string // as it calls itself
}

// claimLife is longer than any request may take.
const claimLife = 2 * time.Minute

// Claim implements allocate.Claims.
func (c *claims) Claim(ctx context.Context, value string) (bool, error) {
	by, err := c.log.Claim(ctx, c.root+value, c.server, claimLife)
	if err != nil || by != "" && by != c.server {
		return false, err
	}
	return true, c.store.Of(prefixOf(api.Services.GroupResource())).Fresh(ctx)
}

// Release implements allocate.Claims.
func (c *claims) Release(ctx context.Context, value string) error {
	return c.log.Release(ctx, c.root+value, c.server)
}
