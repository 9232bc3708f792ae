// Package attach reports pods whose volumes need a driver that is not there.
package attach
