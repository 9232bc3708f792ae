// Package encrypt encrypts what a server writes to its log, by an EncryptionConfiguration file as every
// Kubernetes server reads it: providers identity, aescbc, aesgcm, secretbox and KMS v2, chosen by resource. The
// encryption is that of k8s.io/apiserver, so that values are the ones that Kubernetes itself would write and
// either can read the other's.
//
// The file is read again when it changes. What was written before stays readable for as long as the file names its
// key; Mark tells by which key a value was encrypted, so that what is left of an old one can be found.
package encrypt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	reloads "k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/apiserver/pkg/storage/value"
	kms "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

const (
	// reloadPeriod is how often the file is looked at. Upstream's figure.
	reloadPeriod = time.Minute
	// retryDelay is how soon it is looked at again after a fault for the first time, twice that the next time, and so on.
	retryDelay = time.Second
	// healthTimeout bounds how long a KMS plug-in that a new file names may take to answer, and to be well.
	healthTimeout, healthPeriod = 10 * time.Second, 100 * time.Millisecond

	anyPrefix = "k8s:enc:"
	kmsPrefix = "k8s:enc:kms:v2:"
)

// Providers encrypt and decrypt by the latest good state of a file. They implement the store's Sealer.
type Providers struct {
	file    string
	server  string          // in metrics
	ctx     context.Context // ends the connections to KMS plug-ins
	reload  sync.Mutex      // held while the file is read
	current atomic.Pointer[generation]
}

// A generation is what one content of the file says.
type generation struct {
	hash         string
	transformers encryptionconfig.StaticTransformers
	check        healthz.HealthChecker
	grace        time.Duration
	stop         context.CancelFunc

	mu         sync.RWMutex
	byResource map[schema.GroupResource]value.Transformer // those asked for so far
}

// Open reads the file. Connections to KMS plug-ins last until ctx ends. server is the API server's name in metrics.
func Open(ctx context.Context, file, server string) (*Providers, error) {
	p := &Providers{file: file, server: server, ctx: ctx}
	g, err := p.load()
	if err != nil {
		return nil, err
	}
	p.current.Store(g)
	reloads.RegisterMetrics()
	reloads.RecordEncryptionConfigLastConfigInfo(server, g.hash)
	return p, nil
}

func (p *Providers) load() (*generation, error) {
	ctx, stop := context.WithCancel(p.ctx)
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, p.file, true, p.server)
	if err != nil {
		stop()
		return nil, fmt.Errorf("read encryption configuration %s: %w", p.file, err)
	}
	return &generation{
		hash:         config.EncryptionFileContentHash,
		transformers: config.Transformers,
		check:        config.HealthChecks[0], // one for all plug-ins, as the configuration may be reloaded
		grace:        config.KMSCloseGracePeriod,
		stop:         stop,
		byResource:   map[schema.GroupResource]value.Transformer{},
	}, nil
}

// Run looks at the file once a minute, as upstream does, until ctx ends. After a file that cannot be used it looks again
// at once, and then less and less often: what the file names may be on its way.
func (p *Providers) Run(ctx context.Context) error {
	next, retry := time.NewTimer(0), retryDelay
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
		}
		after := reloadPeriod
		switch err := p.Reload(ctx); {
		case err == nil:
			retry = retryDelay
		case ctx.Err() != nil:
			continue
		default:
			slog.Error("encryption configuration not reloaded; the one before stays in use", "err", err)
			after, retry = retry, min(2*retry, reloadPeriod)
		}
		next.Reset(after)
	}
}

// Reload takes over the file if its content has changed. A file that cannot be used changes nothing.
func (p *Providers) Reload(ctx context.Context) (err error) {
	p.reload.Lock()
	defer p.reload.Unlock()
	defer func() {
		if err != nil {
			reloads.RecordEncryptionConfigAutomaticReloadFailure(p.server)
		}
	}()
	hash, err := FileHash(p.file)
	if err != nil {
		return err
	}
	old := p.current.Load()
	if hash == old.hash {
		return nil
	}
	next, err := p.load()
	if err != nil {
		return err
	}
	if err := next.awaitHealth(ctx); err != nil {
		next.stop()
		return fmt.Errorf("encryption configuration %s: %w", p.file, err)
	}
	p.current.Store(next)
	// What is under way with the old plug-ins may finish.
	time.AfterFunc(old.grace, old.stop)
	reloads.RecordEncryptionConfigAutomaticReloadSuccess(p.server, next.hash)
	slog.Info("encryption configuration reloaded", "file", p.file)
	return nil
}

// FileHash is the Hash of a server that uses the file.
func FileHash(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read encryption configuration: %w", err)
	}
	return contentHash(text), nil
}

// contentHash is the hash that the library gives a file.
func contentHash(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

// Hash identifies the content of the file that is in use.
func (p *Providers) Hash() string { return p.current.Load().hash }

// Check asks the KMS plug-ins, if there are any, whether they are well.
func (p *Providers) Check(ctx context.Context) error { return p.current.Load().healthy(ctx) }

// UsesKMS reports whether a plug-in is asked, so that there is something to check.
func (p *Providers) UsesKMS() bool {
	f, err := ReadFile(p.file)
	if err != nil {
		return false
	}
	for _, r := range f.Config.Resources {
		for _, provider := range r.Providers {
			if provider.KMS != nil {
				return true
			}
		}
	}
	return false
}

// Await returns when every KMS plug-in has answered, or after patience with what the last attempt said: without them
// nothing that they encrypted can be read.
func (p *Providers) Await(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for told := false; ; told = true {
		err := p.Check(ctx)
		if err == nil {
			return nil
		}
		if !told {
			slog.Warn("waiting for KMS plug-ins", "file", p.file, "err", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("KMS plug-ins of %s: %w; start them before this server", p.file, err)
		case <-time.After(time.Second):
		}
	}
}

func (g *generation) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz/"+g.check.Name(), nil)
	if err != nil {
		return err
	}
	return g.check.Check(r)
}

// awaitHealth gives the plug-ins of a new file some time to be well.
func (g *generation) awaitHealth(ctx context.Context) error {
	var ill error
	timeout := max(healthTimeout, g.grace)
	err := wait.PollUntilContextTimeout(ctx, healthPeriod, timeout, true, func(ctx context.Context) (bool, error) {
		ill = g.healthy(ctx)
		return ill == nil, nil
	})
	if err != nil {
		return fmt.Errorf("its KMS plug-ins are not well after %v: %w", timeout, ill)
	}
	return nil
}

// transformer returns what encrypts a resource; it is made once.
func (g *generation) transformer(r schema.GroupResource) value.Transformer {
	g.mu.RLock()
	t, ok := g.byResource[r]
	g.mu.RUnlock()
	if ok {
		return t
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t = g.transformers.TransformerForResource(r)
	g.byResource[r] = t
	return t
}

// Seal encrypts a value. path is bound into it, where the provider can do that: a value moved to another key does
// not open.
func (p *Providers) Seal(ctx context.Context, r schema.GroupResource, path string, plain []byte) ([]byte, error) {
	return p.current.Load().transformer(r).TransformToStorage(ctx, plain, value.DefaultContext(path))
}

// Open decrypts a value. Errors are the provider's own: clients get to see them. At a value that has been cut short some
// providers panic; it is one that cannot be read, and no reason to keep a whole server from starting.
func (p *Providers) Open(r schema.GroupResource, path string, sealed []byte) (plain []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the stored data is damaged: %v", cause)
		}
	}()
	plain, _, err = p.current.Load().transformer(r).TransformFromStorage(p.ctx, sealed, value.DefaultContext(path))
	return plain, err
}

// Mark says by which provider and key a value was encrypted: two values with the same mark are alike in that. It is
// "" for one that is not encrypted.
func (p *Providers) Mark(sealed []byte) string {
	if !bytes.HasPrefix(sealed, []byte(anyPrefix)) {
		return ""
	}
	// k8s:enc:<provider>:<version>:<key>:
	head := sealed[:min(len(sealed), maxMark)]
	parts := bytes.SplitAfterN(head, []byte(":"), 6)
	if len(parts) < 6 {
		return string(head)
	}
	mark := string(sealed[:len(head)-len(parts[5])])
	if !strings.HasPrefix(mark, kmsPrefix) {
		return mark
	}
	var o kms.EncryptedObject
	if err := proto.Unmarshal(sealed[len(mark):], &o); err != nil {
		return mark
	}
	return mark + o.KeyID
}

// maxMark bounds how much of a value is searched for its mark.
const maxMark = 1 << 10
