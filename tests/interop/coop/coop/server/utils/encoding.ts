// Stands in for Coop's, which sorts keys.
export const jsonStringify = (it: unknown) => JSON.stringify(it);
