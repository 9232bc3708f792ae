package authz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	reloads "k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"

	"clipper/api"
	"clipper/apiserver/configfile"
	"clipper/apiserver/egress"
	"clipper/apiserver/extremes"
)

// Modes are the kinds of authorizers, in the words of --authorization-mode.
const (
	ModeNode        = "Node"
	ModeRBAC        = "RBAC"
	ModeABAC        = "ABAC"
	ModeWebhook     = "Webhook"
	ModeAlwaysAllow = "AlwaysAllow"
	ModeAlwaysDeny  = "AlwaysDeny"
)

var modes = []string{ModeAlwaysAllow, ModeAlwaysDeny, ModeABAC, ModeWebhook, ModeRBAC, ModeNode}

// Options say which authorizers are asked, in which order.
type Options struct {
	Modes   []string // none: Node and RBAC
	Policy  string   // the file of the policies of ABAC
	Webhook WebhookOptions
	File    string      // of an AuthorizationConfiguration; excludes Modes and Webhook
	Server  string      // the API server's name in the metrics of reloads
	Dial    egress.Dial // connects to webhooks
}

// WebhookOptions describe the one webhook that flags can name.
type WebhookOptions struct {
	File            string // kubeconfig of the server
	Version         string // of SubjectAccessReview: v1 or v1beta1
	AuthorizedTTL   time.Duration
	UnauthorizedTTL time.Duration
}

// webhookRetry is how often a server that does not answer is asked. Upstream's figures.
var webhookRetry = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}

// compiler compiles match conditions. Made when the first configuration with any is read: it is not small.
var compiler = sync.OnceValue(authorizationcel.NewDefaultCompiler)

// Configured returns the authorizer of a server whose objects c reads, as the options say.
func Configured(c api.Client, o Options) (*Authorizer, error) {
	a := New(c)
	a.options = o
	config, err := a.initial()
	if err != nil {
		return nil, err
	}
	members, err := a.build(config)
	if err != nil {
		return nil, err
	}
	a.config = config
	a.members.Store(&members)
	if o.File != "" {
		reloads.RegisterMetrics()
		reloads.RecordAuthorizationConfigLastConfigInfo(o.Server, string(a.text))
	}
	return a, nil
}

func (a *Authorizer) initial() (*apiserver.AuthorizationConfiguration, error) {
	o := a.options
	if o.File == "" {
		return o.fromFlags()
	}
	if len(o.Modes) > 0 || o.Webhook.File != "" {
		return nil, errors.New("--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined")
	}
	var err error
	if a.text, err = os.ReadFile(o.File); err != nil {
		return nil, fmt.Errorf("read authorization configuration: %w", err)
	}
	config, err := decode(a.text, nil)
	if err != nil {
		return nil, fmt.Errorf("authorization configuration %s: %w", o.File, err)
	}
	return config, nil
}

// fromFlags writes the modes in the form of the file.
func (o *Options) fromFlags() (*apiserver.AuthorizationConfiguration, error) {
	wanted := o.Modes
	if len(wanted) == 0 {
		wanted = []string{ModeNode, ModeRBAC}
	}
	config := &apiserver.AuthorizationConfiguration{}
	var faults []error
	for i, mode := range wanted {
		switch {
		case !slices.Contains(modes, mode):
			faults = append(faults, fmt.Errorf("authorization-mode %q is not a valid mode", mode))
		case slices.Contains(wanted[:i], mode):
			faults = append(faults, fmt.Errorf("authorization-mode %q has mode specified more than once", wanted))
		case mode == ModeABAC && o.Policy == "":
			faults = append(faults, errors.New("authorization-mode ABAC's authorization policy file not passed"))
		case mode == ModeWebhook && o.Webhook.File == "":
			faults = append(faults, errors.New("authorization-mode Webhook's authorization config file not passed"))
		}
		one := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: strings.ToLower(mode)}
		if mode == ModeWebhook {
			one.Name, one.Webhook = "default", o.Webhook.configuration()
		}
		config.Authorizers = append(config.Authorizers, one)
	}
	if o.Policy != "" && !slices.Contains(wanted, ModeABAC) {
		faults = append(faults, errors.New("cannot specify --authorization-policy-file without mode ABAC"))
	}
	if o.Webhook.File != "" && !slices.Contains(wanted, ModeWebhook) {
		faults = append(faults, errors.New("cannot specify --authorization-webhook-config-file without mode Webhook"))
	}
	return config, errors.Join(faults...)
}

func (o *WebhookOptions) configuration() *apiserver.WebhookConfiguration {
	file := o.File
	return &apiserver.WebhookConfiguration{
		AuthorizedTTL:              metav1.Duration{Duration: o.AuthorizedTTL},
		CacheAuthorizedRequests:    o.AuthorizedTTL != 0,
		UnauthorizedTTL:            metav1.Duration{Duration: o.UnauthorizedTTL},
		CacheUnauthorizedRequests:  o.UnauthorizedTTL != 0,
		Timeout:                    metav1.Duration{Duration: 30 * time.Second},
		FailurePolicy:              apiserver.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: o.Version,
		ConnectionInfo:             apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &file},
	}
}

// decode reads a configuration, which must keep the required kinds of authorizers.
func decode(text []byte, required []apiserver.AuthorizerType) (*apiserver.AuthorizationConfiguration, error) {
	config, err := load.LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("failed to load AuthorizationConfiguration from file: %w", err)
	}
	faults := validation.ValidateAuthorizationConfiguration(compiler(), nil, config, sets.New(modes...), sets.New(ModeWebhook))
	if len(faults) > 0 {
		return nil, faults.ToAggregate()
	}
	var errs []error
	missing := slices.Clone(required)
	for _, one := range config.Authorizers {
		if one.Type == ModeWebhook {
			continue
		}
		missing = slices.DeleteFunc(missing, func(t apiserver.AuthorizerType) bool { return t == one.Type })
		if want := strings.ToLower(string(one.Type)); one.Name != want {
			errs = append(errs, fmt.Errorf("expected name %s for authorizer %s instead of %s", want, one.Type, one.Name))
		}
	}
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("missing required types: %v", missing))
	}
	return config, errors.Join(errs...)
}

// build makes the members of the chain.
func (a *Authorizer) build(config *apiserver.AuthorizationConfiguration) ([]member, error) {
	var out []member
	for _, one := range config.Authorizers {
		switch one.Type {
		case ModeNode:
			out = append(out, a.node)
		case ModeRBAC:
			out = append(out, a.rbac)
		case ModeABAC:
			policies, err := a.policies()
			if err != nil {
				return nil, err
			}
			out = append(out, policies)
		case ModeAlwaysAllow:
			out = append(out, authorizerfactory.NewAlwaysAllowAuthorizer())
		case ModeAlwaysDeny:
			out = append(out, authorizerfactory.NewAlwaysDenyAuthorizer())
		case ModeWebhook:
			hook, err := newWebhook(one.Name, one.Webhook, a.options.Dial)
			if err != nil {
				return nil, fmt.Errorf("authorization webhook %s: %w", one.Name, err)
			}
			out = append(out, hook)
		default:
			return nil, fmt.Errorf("unknown authorization mode %s specified", one.Type)
		}
	}
	return out, nil
}

func newWebhook(name string, c *apiserver.WebhookConfiguration, dial egress.Dial) (member, error) {
	client, err := webhookutil.LoadKubeconfig(*c.ConnectionInfo.KubeConfigFile, dial)
	if err != nil {
		return nil, err
	}
	client.Wrap(extremes.BoundAnswers)
	if c.Timeout.Duration != 0 {
		client.Timeout = c.Timeout.Duration
	}
	onError := authorizer.DecisionNoOpinion
	if c.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	yes, no := c.AuthorizedTTL.Duration, c.UnauthorizedTTL.Duration
	if !c.CacheAuthorizedRequests {
		yes = 0
	}
	if !c.CacheUnauthorizedRequests {
		no = 0
	}
	return webhook.New(client, c.SubjectAccessReviewVersion, yes, no, webhookRetry, onError, c.MatchConditions, name, webhookMetrics{
		WebhookMetrics: metrics.NewWebhookMetrics(), MatcherMetrics: authorizationcel.NewMatcherMetrics()}, compiler())
}

// webhookMetrics are those that servers of the API have of their webhooks.
type webhookMetrics struct {
	metrics.NoopRequestMetrics
	metrics.WebhookMetrics
	authorizationcel.MatcherMetrics
}

// Run reads the file again when it changes, until ctx ends.
func (a *Authorizer) Run(ctx context.Context) error {
	if a.options.File != "" {
		configfile.Follow(ctx, a.options.File, func(context.Context) {
			if err := a.reload(); err != nil {
				slog.Error("authorization configuration not reloaded; the one before stays in use", "file", a.options.File, "err", err)
			}
		})
	}
	<-ctx.Done()
	return ctx.Err()
}

// reload takes over the file if it has changed. It may change everything but leave out a kind of authorizer that is
// not a webhook.
func (a *Authorizer) reload() (err error) {
	defer func() {
		if err != nil {
			reloads.RecordAuthorizationConfigAutomaticReloadFailure(a.options.Server)
		}
	}()
	text, err := os.ReadFile(a.options.File)
	if err != nil || bytes.Equal(text, a.text) {
		return err
	}
	a.text = text
	var required []apiserver.AuthorizerType
	for _, one := range a.config.Authorizers {
		if one.Type != ModeWebhook {
			required = append(required, one.Type)
		}
	}
	config, err := decode(text, required)
	if err != nil || reflect.DeepEqual(config, a.config) {
		return err
	}
	members, err := a.build(config)
	if err != nil {
		return err
	}
	a.config = config
	a.members.Store(&members)
	reloads.RecordAuthorizationConfigAutomaticReloadSuccess(a.options.Server, string(text))
	slog.Info("authorization configuration reloaded", "file", a.options.File)
	return nil
}
