// npm `oidc-provider` as control: what the interoperability scripts must also pass against, and
// what the benchmark is compared with. Everything is kept in memory unless OIDC_REDIS is set.
//
// Reads one JSON configuration from standard input: {port, clients: [RFC 7591 metadata], api,
// interactions: "development" | "minimal", initial_access_token?}; prints one line when it listens.

import * as jose from 'jose';
import { Provider } from 'oidc-provider';

import { minimalInteractions, rememberedGrant } from './interactions.mjs';
import { redisAdapter } from './redis_adapter.mjs';

const options = JSON.parse(await new Response(process.stdin).text());
const issuer = `http://localhost:${options.port}`;
const minimal = options.interactions === 'minimal';
const scopes = ['openid', 'offline_access', 'profile', 'email', 'api:read'];

async function privateKey(alg) {
  const { privateKey: key } = await jose.generateKeyPair(alg, { extractable: true });
  return { ...(await jose.exportJWK(key)), alg, use: 'sig', kid: `control-${alg}` };
}

// A person who signs in is whoever they say; the claims follow from the name.
async function findAccount(ctx, id) {
  return {
    accountId: id,
    claims: async () => ({
      sub: id,
      name: `Person ${id}`,
      preferred_username: id,
      email: `${id}@example.com`,
      email_verified: true,
    }),
  };
}

const provider = new Provider(issuer, {
  adapter: process.env.OIDC_REDIS ? redisAdapter(process.env.OIDC_REDIS) : undefined,
  clients: options.clients.map(({ access_token_format: format, ...metadata }) => metadata),
  jwks: { keys: [await privateKey('ES256'), await privateKey('RS256')] },
  cookies: { keys: ['control-cookie-key-0123456789abcdef'] },
  findAccount,
  scopes,
  claims: { email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
  ...(minimal && { loadExistingGrant: rememberedGrant(scopes, options.api) }),
  // Our tokens are views of their session: the same is asked of the control.
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: () => true,
  expiresWithSession: async () => true,
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: !minimal },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****' },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    userinfo: { enabled: true },
    ...(options.initial_access_token && {
      registration: { enabled: true, initialAccessToken: options.initial_access_token },
      registrationManagement: { enabled: true, rotateRegistrationAccessToken: () => true },
    }),
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      defaultResource: (ctx, client) =>
        options.clients.find(({ client_id: id }) => id === client.clientId)
          ?.access_token_format === 'jwt'
          ? options.api
          : undefined,
      getResourceServerInfo: () => ({
        scope: 'api:read',
        audience: options.api,
        accessTokenTTL: 300,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  ttl: {
    AccessToken: 300,
    AuthorizationCode: 60,
    ClientCredentials: 300,
    IdToken: 300,
    RefreshToken: 30 * 86_400,
    Session: 14 * 86_400,
    Grant: 14 * 86_400,
    Interaction: 600,
  },
  // Its guard against calls to private addresses would stop back-channel logout to loopback.
  fetch: (url, { dispatcher, ...request }) => fetch(url, request),
});
provider.on('server_error', (ctx, error) => console.error(error));
provider.on('backchannel.error', (ctx, error) => console.error(error));
if (minimal) minimalInteractions(provider);

provider.listen(options.port, '127.0.0.1', () => console.log(JSON.stringify({ issuer })));
