"""Django's async views: a cached function, and a lifespan, which Django's own ASGI application lacks.

uvicorn django_app:application --app-dir examples/frameworks"""

import asyncio
import itertools
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from acache import Cache
from acache.contrib import WithLifespan

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="an example", DEBUG=False)
django.setup()

cache = Cache("memory://?max_entries=10000", namespace="django")
readings = itertools.count(1)


@cache.cached("weather:{city}", ttl=300, tags=["weather"])
async def weather(city: str) -> dict[str, Any]:
    await asyncio.sleep(0.2)  # a slow station; in real life `async for row in Station.objects.filter(...)`
    return {"city": city, "reading": next(readings)}


async def read(_: HttpRequest, city: str) -> JsonResponse:
    return JsonResponse(await weather(city))


async def renew(_: HttpRequest) -> JsonResponse:
    await cache.invalidate(tags=["weather"])
    return JsonResponse({"loads": cache.stats().loads})


urlpatterns = [path("weather/<city>", read), path("renew", renew)]
application = WithLifespan(get_asgi_application(), cache)
