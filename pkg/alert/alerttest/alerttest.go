// Package alerttest holds what every alert.Store must pass ([Suite]), and a store in
// memory that passes it ([Memory]).
//
// The suite makes accounts with random ids, so it may share a store with others.
package alerttest
