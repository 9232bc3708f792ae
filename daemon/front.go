package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"clipper/apiserver"
	"clipper/apiserver/servingcert"
)

// FrontOptions say how the API shows itself to clients. The names are those of kube-apiserver's flags.
type FrontOptions struct {
	Certificates servingcert.Options
	Advertise    netip.Addr // of this server, towards the cluster; the zero Addr: the node's
	ExternalHost string     // what /api tells clients to use; "": the advertised address
	NodePorts    utilnet.PortRange
	Origins      []string // regular expressions
	HSTS         []string // directives
	NoHTTP2      bool
	// ShareAddress and SharePort let several sockets listen at an address, by SO_REUSEADDR and SO_REUSEPORT.
	ShareAddress, SharePort bool
}

func defaultFront() FrontOptions {
	return FrontOptions{NodePorts: utilnet.PortRange{Base: 30000, Size: 2768}}
}

func (o *FrontOptions) complete() error {
	var faults []error
	for _, directive := range o.HSTS {
		name, _, isPair := strings.Cut(directive, "=")
		switch {
		case strings.TrimSpace(directive) == "":
			faults = append(faults, errors.New("empty value in strict-transport-security-directives"))
		case directive != "includeSubDomains" && directive != "preload" && (!isPair || name != "max-age" || strings.Count(directive, "=") > 1):
			faults = append(faults, errors.New("--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload. see https://tools.ietf.org/html/rfc6797#section-6.1 for more information"))
		}
	}
	for _, origin := range o.Origins {
		if err := checkOrigin(origin); err != nil {
			faults = append(faults, err)
		}
	}
	if o.NodePorts.Size == 0 {
		o.NodePorts = defaultFront().NodePorts
	}
	if o.Advertise.IsValid() && o.Advertise.IsUnspecified() {
		faults = append(faults, fmt.Errorf("--advertise-address %s: give an address that the cluster can reach", o.Advertise))
	}
	return errors.Join(faults...)
}

// externalName is ExternalHost without its port: the name that the API's certificate is for.
func (o *FrontOptions) externalName() string {
	if host, _, err := net.SplitHostPort(o.ExternalHost); err == nil {
		return host
	}
	return o.ExternalHost
}

// checkOrigin refuses expressions that would match in the middle of a host: https://console.example.evil must not pass
// for https://console.example. Like upstream it is content with a sign that somebody has thought of that.
func checkOrigin(expression string) error {
	if expression == "" {
		return errors.New("empty value in --cors-allowed-origins")
	}
	_, err := regexp.Compile(expression)
	start := strings.Contains(expression, "^") || strings.Contains(expression, "//")
	end := strings.Contains(expression, "$") || strings.Contains(expression, ":")
	if err == nil && (!start || !end) {
		err = errors.New("regular expression does not pin to start/end of host in the origin header")
	}
	if err != nil {
		return fmt.Errorf("--cors-allowed-origins has an invalid regular expression: %w; write it like ^https://console\\.example$", err)
	}
	return nil
}

// face adds to the API server's options how it shows itself.
func (cp *controlPlane) face(o *apiserver.Options) (err error) {
	front := &cp.options.Front
	if front.ExternalHost != "" {
		o.Address = front.ExternalHost
		if _, _, err := net.SplitHostPort(front.ExternalHost); err != nil {
			o.Address = net.JoinHostPort(front.ExternalHost, strconv.Itoa(int(cp.advertise.Port())))
		}
	}
	o.NoHTTP2 = front.NoHTTP2
	o.Browsers.HSTS = strings.Join(front.HSTS, "; ")
	for _, origin := range front.Origins {
		o.Browsers.Origins = append(o.Browsers.Origins, regexp.MustCompile(origin)) // complete has checked it
	}
	cp.certs, err = servingcert.Apply(o.TLS, front.Certificates)
	return err
}
