// Stands in for Coop's container of dependencies.
export const inject = (_: string[], service: unknown) => service;
