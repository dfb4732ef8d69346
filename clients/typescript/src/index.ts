/** A client for Keyward, which watches API keys: ask before a request, report after it. */

export { Keyward, type AskOptions, type ClientOptions, type Report } from './client.js';
export { keywardFastify } from './fastify.js';
export { handleOf, withKeyward, type FetchOptions } from './fetch.js';
export { type GuardOptions, type Seen } from './guard.js';
export { Hold } from './hold.js';
export { keyward, type Middleware, type WithKeyward } from './node.js';
export { type Estimate } from './request.js';
export { providerFetch, type ProviderOptions, type Who } from './provider.js';
export { Refused, statusOf, type Asked, type Decision, type Stats, type Used } from './types.js';
