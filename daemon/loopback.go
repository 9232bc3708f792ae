package daemon

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net"
	"strconv"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"clipper/apiserver/resolve"
	"clipper/apiserver/servingcert"
)

// A selfToken is a bearer token that only this process knows, and only while it lives: it stands for the API server.
type selfToken struct {
	token     string
	audiences authenticator.Audiences
}

// newSelfToken makes a token for an API server of these names.
func newSelfToken(audiences []string) selfToken { return selfToken{rand.Text(), audiences} }

// AuthenticateToken implements authenticator.Token.
func (s selfToken) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		return nil, false, nil
	}
	return &authenticator.Response{
		User:      &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}},
		Audiences: s.audiences,
	}, true, nil
}

// loopback is how the server calls itself over the network, for what takes the way of any client.
func (cp *controlPlane) loopback() *resolve.Loopback {
	return &resolve.Loopback{Others: cp.callouts.ways, Config: &rest.Config{
		Host:            "https://" + cp.localAddress(),
		BearerToken:     cp.self.token,
		QPS:             -1, // no limit: what calls has passed those of this server
		TLSClientConfig: rest.TLSClientConfig{ServerName: servingcert.LoopbackName, CAData: cp.pki.CA.CertPEM},
	}}
}

// localAddress is where this machine reaches the API.
func (cp *controlPlane) localAddress() string {
	host := "127.0.0.1"
	if ip := cp.listeners[0].Addr().(*net.TCPAddr).IP; !ip.IsUnspecified() {
		host = ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(cp.advertise.Port())))
}
