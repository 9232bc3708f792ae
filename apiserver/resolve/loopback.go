package resolve

import (
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"clipper/apiserver/egress"
	"clipper/apiserver/extremes"
	"clipper/apiserver/tracing"
)

// The service that is the API server itself. A webhook that an extension API server answers is reached through it.
const (
	selfNamespace = metav1.NamespaceDefault
	selfName      = "kubernetes"
	selfPort      = 443
	selfHost      = selfName + "." + selfNamespace + ".svc:443"
)

// A Loopback is the API server's way to itself: where it listens, and how it shows that it is the one who asks. Nil:
// its service is one like any other.
type Loopback struct {
	Config *rest.Config // Host is a URL
	// Others are how all other servers are reached.
	Others egress.Dialers
}

// resolves reports whether a service's port is the server's own, and returns where it listens.
func (l *Loopback) resolves(namespace, name string, port int32) (*url.URL, bool) {
	if l == nil || namespace != selfNamespace || name != selfName || port != selfPort {
		return nil, false
	}
	to, err := url.Parse(l.Config.Host)
	return to, err == nil
}

// Identities says as whom webhooks are called: the server's own address in its own name, all others as next says. Of
// what those answer only so much is read, and they are told which trace they are asked in.
func (l *Loopback) Identities(next webhookutil.AuthenticationInfoResolver) webhookutil.AuthenticationInfoResolver {
	return &webhookutil.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(host string) (*rest.Config, error) {
			if l != nil && host == selfHost {
				return l.Config, nil
			}
			c, err := next.ClientConfigFor(host)
			return bounded(c, err, l.others().ControlPlane)
		},
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			if l != nil && name == selfName && namespace == selfNamespace && port == selfPort {
				return l.Config, nil
			}
			c, err := next.ClientConfigForService(name, namespace, port)
			return bounded(c, err, l.others().Cluster)
		},
	}
}

func (l *Loopback) others() egress.Dialers {
	if l == nil {
		return egress.Dialers{}
	}
	return l.Others
}

// bounded reads only so much of answers, over connections that dial makes.
func bounded(c *rest.Config, err error, dial egress.Dial) (*rest.Config, error) {
	if err != nil {
		return nil, err
	}
	c = rest.CopyConfig(c)
	if dial != nil {
		c.Dial = dial
	}
	c.Wrap(extremes.BoundAnswers)
	c.Wrap(tracing.Outgoing)
	return c, nil
}
