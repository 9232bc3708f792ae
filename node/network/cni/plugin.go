package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"

	"clipper/node/network/netns"
)

// askTime limits what the agent may take to answer.
const askTime = time.Minute

// A request is what the plug-in hands to the agent.
type request struct {
	Command string        `json:"command"` // ADD, CHECK, DEL, STATUS
	ID      string        `json:"id"`
	NetNS   string        `json:"netns,omitempty"`
	Ports   []portMapping `json:"ports,omitempty"`
}

// A response is the agent's answer.
type response struct {
	Error   string   `json:"error,omitempty"`
	IPs     []string `json:"ips,omitempty"` // with the length of their prefix
	Gateway string   `json:"gateway,omitempty"`
}

// IsPlugin reports whether a program of that name is a plug-in.
func IsPlugin(arg0 string) bool {
	name := filepath.Base(arg0)
	return name == PluginName || name == loopbackName
}

// Main is the plug-in from start to end: what is asked for is in the environment and on stdin.
func Main(arg0 string) {
	funcs := skel.CNIFuncs{Add: add, Del: del, Check: check, Status: status}
	if filepath.Base(arg0) == loopbackName {
		funcs = skel.CNIFuncs{Add: loopback, Del: nothing, Check: nothing, Status: nothing}
	}
	skel.PluginMainFuncs(funcs, version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), "clipper's network on a node")
}

// podDevice is how the network names a pod's device.
const podDevice = "eth0"

func add(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if args.IfName != podDevice {
		return fmt.Errorf("device %q: this network has %s alone", args.IfName, podDevice)
	}
	answer, err := ask(config, request{Command: "ADD", ID: args.ContainerID, NetNS: args.Netns, Ports: config.Runtime.PortMappings})
	if err != nil {
		return err
	}
	result, err := answer.result(args)
	if err != nil {
		return err
	}
	return types.PrintResult(result, config.CNIVersion)
}

func del(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	_, err = ask(config, request{Command: "DEL", ID: args.ContainerID})
	return err
}

func check(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	_, err = ask(config, request{Command: "CHECK", ID: args.ContainerID})
	return err
}

func status(args *skel.CmdArgs) error {
	config, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	_, err = ask(config, request{Command: "STATUS"})
	return err
}

// parse reads the plug-in's configuration.
func parse(data []byte) (*pluginConfig, error) {
	c := &pluginConfig{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "read the network configuration", err.Error())
	}
	if c.Socket == "" {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "the network configuration has no socket", "")
	}
	return c, nil
}

// ask hands a request to the agent. One that is not there may be on its way up: the runtime should try again.
func ask(config *pluginConfig, req request) (*response, error) {
	conn, err := net.DialTimeout("unix", config.Socket, askTime)
	if err != nil {
		return nil, types.NewError(types.ErrTryAgainLater, "the node agent is not running", err.Error())
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, types.NewError(types.ErrIOFailure, "ask the node agent", err.Error())
	}
	answer := &response{}
	if err := json.NewDecoder(conn).Decode(answer); err != nil {
		return nil, types.NewError(types.ErrIOFailure, "ask the node agent", err.Error())
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer, nil
}

// result puts the answer in CNI's terms.
func (r *response) result(args *skel.CmdArgs) (*current.Result, error) {
	out := &current.Result{CNIVersion: current.ImplementedSpecVersion, Interfaces: []*current.Interface{{Name: args.IfName, Sandbox: args.Netns}}}
	gateway := net.ParseIP(r.Gateway)
	for _, text := range r.IPs {
		ip, prefix, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fmt.Errorf("the node agent's answer: %w", err)
		}
		prefix.IP = ip
		out.IPs = append(out.IPs, &current.IPConfig{Interface: current.Int(0), Address: *prefix, Gateway: gateway})
	}
	_, everywhere, _ := net.ParseCIDR("0.0.0.0/0")
	out.Routes = []*types.Route{{Dst: *everywhere, GW: gateway}}
	return out, nil
}

// loopback brings the loopback device of a namespace up.
func loopback(args *skel.CmdArgs) error {
	config := types.NetConf{}
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return types.NewError(types.ErrDecodingFailure, "read the network configuration", err.Error())
	}
	err := netns.Do(args.Netns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	_, local, _ := net.ParseCIDR("127.0.0.1/8")
	local.IP = net.IPv4(127, 0, 0, 1)
	return types.PrintResult(&current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{{Name: args.IfName, Sandbox: args.Netns}},
		IPs:        []*current.IPConfig{{Interface: current.Int(0), Address: *local}},
	}, config.CNIVersion)
}

func nothing(*skel.CmdArgs) error { return nil }
