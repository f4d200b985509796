# keras-prelu with CUDA. The host needs NVIDIA's driver and container toolkit alone.
#
#   docker build --tag keras-prelu .
#   docker run --rm --gpus all --volume "$PWD:/work" keras-prelu convert model.keras
#
# Other backends: --build-arg BACKEND=jax --build-arg CUDA='jax[cuda12]', or --build-arg
# BACKEND=torch --build-arg CUDA=torch. Without CUDA: --build-arg CUDA=

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY setup.py README.md LICENSE ./
COPY keras_prelu keras_prelu
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG BACKEND=tensorflow
ARG CUDA=tensorflow[and-cuda]
ARG EXTRAS=all
COPY --from=wheel /wheels /wheels
# What is in the image is what was the newest when it was built.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]" ${CUDA:+"${CUDA}"} \
    && useradd --uid 1000 --create-home user
ENV KERAS_BACKEND=${BACKEND} \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
ENTRYPOINT ["keras-prelu"]
CMD ["--help"]
