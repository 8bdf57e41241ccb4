// An identity provider for one test: everybody may log in, and belongs to the group that is named like them.
import { Provider } from 'oidc-provider';

const issuer = `http://127.0.0.1:${process.argv[2]}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'hashhub', token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [],
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
  }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  conformIdTokenClaims: false,
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: 'Ada Lovelace', groups: [id] }),
  }),
});
provider.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
