// The adapter contract of `oidc-provider` on Redis: one string per artifact, one set per grant.
//
// Written from the contract (upsert, find, findByUid, findByUserCode, consume, destroy,
// revokeByGrantId); a round trip each, transactions where several keys change together.

import { Redis } from 'ioredis';

const GRANTABLE = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode']);
// Read once and then marked: a hash, so that the mark is one field.
const CONSUMABLE = new Set(['AuthorizationCode', 'RefreshToken', 'DeviceCode']);

/** A factory of adapters that share one connection. */
export function redisAdapter(url) {
  const redis = new Redis(url, { keyPrefix: 'oidc:' });
  return (model) => new RedisAdapter(model, redis);
}

class RedisAdapter {
  constructor(model, redis) {
    this.model = model;
    this.redis = redis;
    this.consumable = CONSUMABLE.has(model);
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    const text = JSON.stringify(payload);
    const change = this.redis.multi();
    if (this.consumable) {
      change.hset(key, 'payload', text);
      if (expiresIn) change.expire(key, expiresIn);
    } else if (expiresIn) {
      change.set(key, text, 'EX', expiresIn);
    } else {
      change.set(key, text);
    }
    if (GRANTABLE.has(this.model) && payload.grantId) {
      const members = `grant:${payload.grantId}`;
      change.rpush(members, key);
      // The list lives as long as its longest member; GT leaves a later deadline alone, and NX
      // gives a new list its first.
      change.expire(members, expiresIn, 'NX');
      change.expire(members, expiresIn, 'GT');
    }
    if (payload.userCode) change.set(`userCode:${payload.userCode}`, id, 'EX', expiresIn);
    if (payload.uid) change.set(`uid:${payload.uid}`, id, 'EX', expiresIn);
    await change.exec();
  }

  async find(id) {
    if (!this.consumable) {
      const text = await this.redis.get(this.key(id));
      return text ? JSON.parse(text) : undefined;
    }
    const [text, consumed] = await this.redis.hmget(this.key(id), 'payload', 'consumed');
    if (!text) return undefined;
    const payload = JSON.parse(text);
    return consumed ? { ...payload, consumed: Number(consumed) } : payload;
  }

  async findByUid(uid) {
    const id = await this.redis.get(`uid:${uid}`);
    return id ? this.find(id) : undefined;
  }

  async findByUserCode(userCode) {
    const id = await this.redis.get(`userCode:${userCode}`);
    return id ? this.find(id) : undefined;
  }

  async consume(id) {
    await this.redis.hset(this.key(id), 'consumed', Math.floor(Date.now() / 1000));
  }

  async destroy(id) {
    await this.redis.del(this.key(id));
  }

  async revokeByGrantId(grantId) {
    const members = `grant:${grantId}`;
    const keys = await this.redis.lrange(members, 0, -1);
    await this.redis.del(...keys, members);
  }
}
